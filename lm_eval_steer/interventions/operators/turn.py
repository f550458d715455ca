"""`turn` and `slerp`: h' is h turned towards v in the plane of both, at the length of h (Spherical Steering)."""

from __future__ import annotations

import torch
from torch import Tensor

from lm_eval_steer.interventions.operators.operator import Operator, along, is_not_zero, length_of, unit


def turn(hidden: Tensor, strength: Tensor, ahead: Tensor, there: Tensor) -> Tensor:
    """h turned by α degrees towards v, and beyond it where the angle between both is less.

    Args:
        hidden: [rows, positions, hidden].
        strength: [rows, positions, 1]; 0 leaves h as it is, bit for bit, and so does a v along or against h, with which
            it has no plane.
        ahead, there: v / ‖v‖, and 1, or 0 of a v of zeros [1].
    """
    along_v, across = _parts(hidden, ahead)
    return _turned(hidden, along_v, across, length_of(across), torch.deg2rad(strength) * there, ahead)


def slerp(hidden: Tensor, strength: Tensor, ahead: Tensor, there: Tensor) -> Tensor:
    """h turned by the share α of the angle between h and v: at strength 1 h' lies along v; as `turn` else."""
    along_v, across = _parts(hidden, ahead)
    height = length_of(across)
    return _turned(hidden, along_v, across, height, strength * there * torch.atan2(height, along_v), ahead)


def _parts(hidden: Tensor, ahead: Tensor) -> tuple[Tensor, Tensor]:
    """⟨h, v⟩ of a v of length 1 [rows, positions, 1], and what of h stands on v [rows, positions, hidden]."""
    along_v = along(hidden, ahead)
    return along_v, torch.addcmul(hidden, along_v, ahead, value=-1)


def _turned(hidden: Tensor, along_v: Tensor, across: Tensor, height: Tensor, angle: Tensor, ahead: Tensor) -> Tensor:
    """h turned towards v.

    What is added is along v and along what of h stands on it, nothing of either at an angle of 0.

    Args:
        hidden, ahead: as for `turn`.
        along_v, across: see `_parts`.
        height: ‖across‖ [rows, positions, 1].
        angle: to turn by, in radians [rows, positions, 1].
    """
    finest = torch.finfo(hidden.dtype)
    angle = angle * (height > 8 * finest.eps * along_v.abs())
    less, sine = -2 * torch.sin(angle / 2).square(), torch.sin(angle)  # cos α - 1
    towards = torch.addcmul(less * along_v, sine, height)
    away = torch.addcdiv(less, sine * along_v, height.clamp_min(finest.tiny), value=-1)
    return torch.addcmul(torch.addcmul(hidden, towards, ahead), away, across)


def _prepare(direction: Tensor) -> tuple[Tensor, Tensor]:
    return unit(direction), direction.any(dim=-1, keepdim=True).to(direction.dtype)


TURN = Operator(turn, is_not_zero, is_shift=False, strength="angle", prepare=_prepare)
SLERP = Operator(slerp, is_not_zero, is_shift=False, strength="share", prepare=_prepare)
