"""`heads`: what each head gives to the output projection of attention [heads, head_dim] (ITI)."""

from __future__ import annotations

from lm_eval_steer.sites.site import Site

HEADS = Site("what each head gives to the output projection", by_head=True)
