"""`identity`: no steering, with requests in other batches than usual; what changes here is rounding."""

from __future__ import annotations

from lm_eval_steer.interventions.controls.kind import Kind

IDENTITY = Kind(regroups=True)
