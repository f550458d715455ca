"""`attention`: what attention adds to the residual stream, behind a norm or multiplier where there is one."""

from __future__ import annotations

from lm_eval_steer.sites.site import Site

ATTENTION = Site("what attention adds to the residual stream")
