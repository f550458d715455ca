"""`self-consistency`: no steering, as many sampled texts as the set has strengths, with the vector's vote."""

from __future__ import annotations

from lm_eval_steer.interventions.controls.kind import Kind

SELF_CONSISTENCY = Kind(temperature=0.7)
