"""`swap`: h' = h + α·⟨h, v⟩(w - v), so that what lies along v lies along w; v and w of length 1 (EasySteer)."""

from __future__ import annotations

import torch
from torch import Tensor

from lm_eval_steer.interventions.operators.operator import Operator, along, is_not_zero


def swap(hidden: Tensor, strength: Tensor, directions: Tensor) -> Tensor:
    """h' = h + α·⟨h, v⟩(w - v) / ‖v‖²; a strength of 0 leaves h as it is, bit for bit.

    Args:
        hidden: [rows, positions, hidden].
        strength: [rows, positions, 1].
        directions: v and w [2, hidden], or [rows, 1, 2, hidden].
    """
    dtype = torch.promote_types(hidden.dtype, torch.float32)
    before = hidden.to(dtype)
    v, w = directions.to(dtype).unbind(dim=-2)
    return torch.addcmul(before, strength.to(dtype) * along(before, v), w - v).to(hidden.dtype)


SWAP = Operator(swap, is_not_zero, is_shift=False, strength="share", directions=2)
