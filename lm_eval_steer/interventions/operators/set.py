"""`set`, `set_at_least`, `set_at_most`: h' reaches α along v, or no less, or no more (the harness's `clamp`)."""

from __future__ import annotations

import torch
from torch import Tensor

from lm_eval_steer.interventions.operators.operator import Operator, along, always, with_reach


def set_along(hidden: Tensor, strength: Tensor, direction: Tensor, reach: Tensor) -> Tensor:
    """h' = h + (α - ⟨h, v⟩)v for a v of length 1; α is in lengths of v else.

    Args:
        hidden: [rows, positions, hidden].
        strength: [rows, positions, 1].
        direction, reach: see `with_reach`.
    """
    return torch.addcmul(hidden, strength - along(hidden, reach), direction)


def set_at_least(hidden: Tensor, strength: Tensor, direction: Tensor, reach: Tensor) -> Tensor:
    """As `set_along` where h reaches less far than α; elsewhere h as it is, bit for bit."""
    return torch.addcmul(hidden, (strength - along(hidden, reach)).clamp_min(0), direction)


def set_at_most(hidden: Tensor, strength: Tensor, direction: Tensor, reach: Tensor) -> Tensor:
    """As `set_along` where h reaches farther than α; elsewhere h as it is, bit for bit."""
    return torch.addcmul(hidden, (strength - along(hidden, reach)).clamp_max(0), direction)


SET = Operator(set_along, always, is_shift=False, prepare=with_reach)
SET_AT_LEAST = Operator(set_at_least, always, is_shift=False, prepare=with_reach)
SET_AT_MOST = Operator(set_at_most, always, is_shift=False, strong=-1, prepare=with_reach)
