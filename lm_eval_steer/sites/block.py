"""`block`: the output of a block: the residual stream behind what its attention and its MLP add."""

from __future__ import annotations

from lm_eval_steer.sites.site import Site

BLOCK = Site("the output of a block")
