"""`final_norm`: the output of the norm behind the last block, which the head reads."""

from __future__ import annotations

from lm_eval_steer.sites.site import Site

FINAL_NORM = Site("the output of the last norm", in_blocks=False)
