"""`set`, `set_at_least`, `set_at_most`: h' reaches α along v, or no less, or no more (the harness's `clamp`)."""

from __future__ import annotations

import torch
from torch import Tensor

from lm_eval_steer.interventions.operators.operator import Operator, along, always


def set_along(hidden: Tensor, strength: Tensor, direction: Tensor) -> Tensor:
    """h' = h + (α - ⟨h, v⟩)v for a v of length 1; α is in lengths of v else."""
    before, strength, v = _wide(hidden, strength, direction)
    return torch.addcmul(before, strength - along(before, v), v).to(hidden.dtype)


def set_at_least(hidden: Tensor, strength: Tensor, direction: Tensor) -> Tensor:
    """As `set_along` where h reaches less far than α; elsewhere h as it is, bit for bit."""
    before, strength, v = _wide(hidden, strength, direction)
    return torch.addcmul(before, (strength - along(before, v)).clamp_min(0), v).to(hidden.dtype)


def set_at_most(hidden: Tensor, strength: Tensor, direction: Tensor) -> Tensor:
    """As `set_along` where h reaches farther than α; elsewhere h as it is, bit for bit."""
    before, strength, v = _wide(hidden, strength, direction)
    return torch.addcmul(before, (strength - along(before, v)).clamp_max(0), v).to(hidden.dtype)


def _wide(hidden: Tensor, strength: Tensor, direction: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    dtype = torch.promote_types(hidden.dtype, torch.float32)
    return hidden.to(dtype), strength.to(dtype), direction.to(dtype)


SET = Operator(set_along, always, is_shift=False)
SET_AT_LEAST = Operator(set_at_least, always, is_shift=False)
SET_AT_MOST = Operator(set_at_most, always, is_shift=False, strong=-1)
