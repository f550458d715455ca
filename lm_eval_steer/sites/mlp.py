"""`mlp`: what the MLP or its experts add to the residual stream, behind a norm or multiplier where there is one."""

from __future__ import annotations

from lm_eval_steer.sites.site import Site

MLP = Site("what the MLP adds to the residual stream")
