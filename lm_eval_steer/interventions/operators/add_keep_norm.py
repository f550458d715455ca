"""`add_keep_norm`: `add`, then back to the length that h had (repeng's and RepE's `normalize`)."""

from __future__ import annotations

import torch
from torch import Tensor

from lm_eval_steer.interventions.operators.operator import Operator, is_not_zero


def add_keep_norm(hidden: Tensor, strength: Tensor, direction: Tensor) -> Tensor:
    """`add`, then scaled back to the length that h had; a strength of 0 leaves h as it is, bit for bit."""
    dtype = torch.promote_types(hidden.dtype, torch.float32)
    before = hidden.to(dtype)
    after = torch.addcmul(before, strength.to(dtype), direction.to(dtype))
    tiny = torch.finfo(dtype).tiny
    scale = before.norm(dim=-1, keepdim=True) / after.norm(dim=-1, keepdim=True).clamp_min(tiny)
    return torch.where(strength != 0, after * scale, before).to(hidden.dtype)


ADD_KEEP_NORM = Operator(add_keep_norm, is_not_zero, is_shift=False)
