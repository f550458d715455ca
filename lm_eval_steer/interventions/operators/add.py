"""`add`: h' = h + α·v, the paper's (and CAA's, ActAdd's, RepE's) operator."""

from __future__ import annotations

import torch
from torch import Tensor

from lm_eval_steer.interventions.operators.operator import Operator, is_not_zero


def add(hidden: Tensor, strength: Tensor, direction: Tensor) -> Tensor:
    """h' = h + α·v, computed in float32 at least and rounded once to the dtype of `hidden`.

    Args:
        hidden: block output [rows, positions, hidden].
        strength: α of each row and position [rows, positions, 1]; 0 leaves the position as it is, bit for bit.
        direction: v [hidden], or one per row [rows, 1, hidden].
    """
    dtype = torch.promote_types(hidden.dtype, torch.float32)
    return torch.addcmul(hidden.to(dtype), strength.to(dtype), direction.to(dtype)).to(hidden.dtype)


ADD = Operator(add, is_not_zero, is_shift=True)
