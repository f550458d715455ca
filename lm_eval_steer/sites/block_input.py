"""`block_input`: the residual stream as a block is given it, before its first norm."""

from __future__ import annotations

from lm_eval_steer.sites.site import Site

BLOCK_INPUT = Site("the input of a block")
