"""`ablate`: h' = h - α·⟨h, v⟩v, which takes the direction out: at strength 1 nothing of h lies along v."""

from __future__ import annotations

import torch
from torch import Tensor

from lm_eval_steer.interventions.operators.operator import Operator, along, is_not_zero, with_reach


def ablate(hidden: Tensor, strength: Tensor, direction: Tensor, reach: Tensor) -> Tensor:
    """h' = h - α·⟨h, v⟩v / ‖v‖²; a strength of 0 leaves h as it is, bit for bit.

    Args:
        hidden: [rows, positions, hidden].
        strength: [rows, positions, 1].
        direction, reach: see `with_reach`.
    """
    return torch.addcmul(hidden, strength * along(hidden, reach), direction, value=-1)


ABLATE = Operator(ablate, is_not_zero, is_shift=False, strength="share", signed=False, prepare=with_reach)
