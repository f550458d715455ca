"""`add_keep_norm`: `add`, then back to the length that h had (repeng's and RepE's `normalize`)."""

from __future__ import annotations

import torch
from torch import Tensor

from lm_eval_steer.interventions.operators.operator import Operator, is_not_zero, length_of


def add_keep_norm(hidden: Tensor, strength: Tensor, direction: Tensor) -> Tensor:
    """`add`, then scaled back to the length that h had; a strength of 0 leaves h as it is, bit for bit."""
    after = torch.addcmul(hidden, strength, direction)
    scale = length_of(hidden) / length_of(after).clamp_min(torch.finfo(hidden.dtype).tiny)
    return after * torch.where(strength != 0, scale, 1.0)


ADD_KEEP_NORM = Operator(add_keep_norm, is_not_zero, is_shift=False)
