"""`turn` and `slerp`: h' is h turned towards v in the plane of both, at the length of h (Spherical Steering)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lm_eval_steer.interventions.operators.operator import Operator, along, is_not_zero, length_of, unit


def turn(hidden: Tensor, strength: Tensor, ahead: Tensor, steepest: Tensor, degree: Tensor) -> Tensor:
    """h turned by α degrees towards v, and beyond it where the angle between both is less.

    Args:
        hidden: [rows, positions, hidden].
        strength: [rows, positions, 1]; 0 leaves h as it is, bit for bit, and so does a v along or against h, with which
            it has no plane.
        ahead: v / ‖v‖.
        steepest: see `_turned`.
        degree: in radians [1].
    """
    along_v, height = _parts(hidden, ahead)
    return _turned(hidden, along_v, height, strength * degree, ahead, steepest)


def slerp(hidden: Tensor, strength: Tensor, ahead: Tensor, steepest: Tensor) -> Tensor:
    """h turned by the share α of the angle between h and v: at strength 1 h' lies along v; as `turn` else."""
    along_v, height = _parts(hidden, ahead)
    return _turned(hidden, along_v, height, strength * torch.atan2(height, along_v), ahead, steepest)


def _parts(hidden: Tensor, ahead: Tensor) -> tuple[Tensor, Tensor]:
    """Of h along a v of length 1, and the length of what of h stands on v, both [rows, positions, 1]."""
    along_v = along(hidden, ahead)
    return along_v, length_of(torch.addcmul(hidden, along_v, ahead, value=-1))


def _turned(hidden: Tensor, along_v: Tensor, height: Tensor, angle: Tensor, ahead: Tensor, steepest: Tensor) -> Tensor:
    """h turned towards v: a multiple of h, 1 at an angle of 0, and one of v, 0 there.

    With a of h along v and c across, h' has a cos α + c sin α and c cos α - a sin α of them.

    Args:
        hidden, ahead: as for `turn`.
        along_v, height: see `_parts`.
        angle: to turn by, in radians [rows, positions, 1].
        steepest: a / c from which on h has no plane with v, since c is no more than rounding; 0 for a v of zeros [1].
    """
    slope, sine = along_v / height, torch.sin(angle)
    no_plane = (slope.abs() < steepest).logical_not_()  # also where h is 0, and the slope NaN
    of_h = torch.addcmul(torch.cos(angle), slope, sine, value=-1).masked_fill_(no_plane, 1.0)
    of_v = (torch.addcmul(height, slope, along_v) * sine).masked_fill_(no_plane, 0.0)
    return torch.addcmul(hidden * of_h, of_v, ahead)


def _prepare(direction: Tensor) -> tuple[Tensor, Tensor]:
    there = direction.any(dim=-1, keepdim=True).to(direction.dtype)
    return unit(direction), there / (8 * torch.finfo(direction.dtype).eps)


def _prepare_degrees(direction: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return *_prepare(direction), torch.full_like(direction[..., :1], math.radians(1))


TURN = Operator(turn, is_not_zero, is_shift=False, strength="angle", prepare=_prepare_degrees)
SLERP = Operator(slerp, is_not_zero, is_shift=False, strength="share", prepare=_prepare)
