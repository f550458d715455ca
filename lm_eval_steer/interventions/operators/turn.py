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
    along_v, height = _parts(hidden, ahead)
    return _turned(hidden, along_v, height, torch.deg2rad(strength) * there, ahead)


def slerp(hidden: Tensor, strength: Tensor, ahead: Tensor, there: Tensor) -> Tensor:
    """h turned by the share α of the angle between h and v: at strength 1 h' lies along v; as `turn` else."""
    along_v, height = _parts(hidden, ahead)
    return _turned(hidden, along_v, height, strength * there * torch.atan2(height, along_v), ahead)


def _parts(hidden: Tensor, ahead: Tensor) -> tuple[Tensor, Tensor]:
    """Of h along a v of length 1, and the length of what of h stands on v, both [rows, positions, 1]."""
    along_v = along(hidden, ahead)
    return along_v, length_of(torch.addcmul(hidden, along_v, ahead, value=-1))


def _turned(hidden: Tensor, along_v: Tensor, height: Tensor, angle: Tensor, ahead: Tensor) -> Tensor:
    """h turned towards v: a multiple of h, 1 at an angle of 0, and one of v, 0 there.

    With a of h along v and c across, h' has a cos α + c sin α and c cos α - a sin α of them.

    Args:
        hidden, ahead: as for `turn`.
        along_v, height: see `_parts`.
        angle: to turn by, in radians [rows, positions, 1].
    """
    slope, sine = along_v / height, torch.sin(angle)
    has_plane = slope.abs() < 1 / (8 * torch.finfo(hidden.dtype).eps)
    of_h = torch.where(has_plane, torch.addcmul(torch.cos(angle), slope, sine, value=-1), 1)
    of_v = torch.where(has_plane, torch.addcmul(height, slope, along_v) * sine, 0)
    return torch.addcmul(hidden * of_h, of_v, ahead)


def _prepare(direction: Tensor) -> tuple[Tensor, Tensor]:
    return unit(direction), direction.any(dim=-1, keepdim=True).to(direction.dtype)


TURN = Operator(turn, is_not_zero, is_shift=False, strength="angle", prepare=_prepare)
SLERP = Operator(slerp, is_not_zero, is_shift=False, strength="share", prepare=_prepare)
