"""`add`: h' = h + α·v, the paper's (and CAA's, ActAdd's, RepE's) operator."""

from __future__ import annotations

import torch
from torch import Tensor

from lm_eval_steer.interventions.operators.operator import Operator, is_not_zero


def add(hidden: Tensor, strength: Tensor, direction: Tensor) -> Tensor:
    """h' = h + α·v; a strength of 0 leaves h as it is, bit for bit.

    Args:
        hidden: h [rows, positions, hidden].
        strength: α of each row and position [rows, positions, 1].
        direction: v [hidden], or one per row [rows, 1, hidden].
    """
    return torch.addcmul(hidden, strength, direction)


ADD = Operator(add, is_not_zero, is_shift=True)
