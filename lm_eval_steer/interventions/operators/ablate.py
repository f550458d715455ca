"""`ablate`: h' = h - α·⟨h, v⟩v, which takes the direction out: at strength 1 nothing of h lies along v."""

from __future__ import annotations

import torch
from torch import Tensor

from lm_eval_steer.interventions.operators.operator import Operator, along, is_not_zero


def ablate(hidden: Tensor, strength: Tensor, direction: Tensor) -> Tensor:
    """h' = h - α·⟨h, v⟩v / ‖v‖²; a strength of 0 leaves h as it is, bit for bit."""
    dtype = torch.promote_types(hidden.dtype, torch.float32)
    before, v = hidden.to(dtype), direction.to(dtype)
    return torch.addcmul(before, -strength.to(dtype) * along(before, v), v).to(hidden.dtype)


ABLATE = Operator(ablate, is_not_zero, is_shift=False, strength="share", signed=False)
