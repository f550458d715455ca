"""`swap`: h' = h + α·⟨h, v⟩(w - v), so that what lies along v lies along w; v and w of length 1 (EasySteer)."""

from __future__ import annotations

import torch
from torch import Tensor

from lm_eval_steer.interventions.operators.operator import Operator, along, is_not_zero, with_reach


def swap(hidden: Tensor, strength: Tensor, reach: Tensor, across: Tensor) -> Tensor:
    """h' = h + α·⟨h, v⟩(w - v) / ‖v‖²; a strength of 0 leaves h as it is, bit for bit.

    Args:
        hidden: [rows, positions, hidden].
        strength: [rows, positions, 1].
        reach, across: v / ‖v‖² and w - v.
    """
    return torch.addcmul(hidden, strength * along(hidden, reach), across)


def _prepare(directions: Tensor) -> tuple[Tensor, Tensor]:
    """Of v and w [2, hidden]."""
    v, w = directions.unbind(dim=-2)
    return with_reach(v)[1], w - v


SWAP = Operator(swap, is_not_zero, is_shift=False, strength="share", directions=2, prepare=_prepare)
