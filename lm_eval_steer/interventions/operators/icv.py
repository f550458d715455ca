"""`icv`: `add_keep_norm` with more strength where h points away from v, as In-Context Vectors are added."""

from __future__ import annotations

import torch
from torch import Tensor

from lm_eval_steer.interventions.operators.add_keep_norm import add_and_keep
from lm_eval_steer.interventions.operators.operator import Operator, along, is_not_zero, length_of, unit


def icv(hidden: Tensor, strength: Tensor, direction: Tensor, ahead: Tensor) -> Tensor:
    """`add_keep_norm` at strength α·(1 + max(0, -cos)), cos the cosine between h and v: up to twice α.

    Liu et al. 2023 (arXiv 2311.06668), whose λ is α as a share of ‖h‖.

    Args:
        hidden: [rows, positions, hidden].
        strength: [rows, positions, 1].
        direction, ahead: v, and v / ‖v‖.
    """
    length = length_of(hidden)
    cosine = along(hidden, ahead) / length.clamp_min(torch.finfo(hidden.dtype).tiny)
    more = torch.addcmul(strength, strength, cosine.clamp_max_(0), value=-1)
    return add_and_keep(length, hidden, more, direction)


def _with_unit(direction: Tensor) -> tuple[Tensor, Tensor]:
    return direction, unit(direction)


ICV = Operator(icv, is_not_zero, is_shift=False, prepare=_with_unit)
