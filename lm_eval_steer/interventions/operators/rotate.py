"""`rotate` and `rotate_to`: the part of h in the plane of v and w, turned by an angle or to one (Angular Steering)."""

from __future__ import annotations

import torch
from torch import Tensor

from lm_eval_steer.interventions.operators.operator import Operator, along, always, is_not_zero, unit


def rotate(hidden: Tensor, strength: Tensor, v: Tensor, w: Tensor) -> Tensor:
    """h' is h with its part in the plane turned by α degrees, from v towards w; what stands on the plane stays.

    Args:
        hidden: [rows, positions, hidden].
        strength: [rows, positions, 1]; 0 leaves h as it is, bit for bit.
        v, w: two axes of length 1 that stand on each other.
    """
    x, y, angle = along(hidden, v), along(hidden, w), torch.deg2rad(strength)
    less, sine = torch.cos(angle) - 1, torch.sin(angle)
    along_v, along_w = torch.addcmul(x * less, y, sine, value=-1), torch.addcmul(y * less, x, sine)
    return torch.addcmul(torch.addcmul(hidden, along_v, v), along_w, w)


def rotate_to(hidden: Tensor, strength: Tensor, v: Tensor, w: Tensor) -> Tensor:
    """h' is h with its part in the plane turned to α degrees from v towards w, at the length of that part.

    Args:
        hidden: [rows, positions, hidden].
        strength: [rows, positions, 1].
        v, w: as of `rotate`.
    """
    x, y, angle = along(hidden, v), along(hidden, w), torch.deg2rad(strength)
    length = torch.hypot(x, y)
    return torch.addcmul(torch.addcmul(hidden, length * torch.cos(angle) - x, v), length * torch.sin(angle) - y, w)


def _axes(directions: Tensor) -> tuple[Tensor, Tensor]:
    """Two axes of length 1 that stand on each other, the first along v, of v and w, not parallel [2, hidden]."""
    v, w = directions.unbind(dim=-2)
    v = unit(v)
    return v, unit(w - along(w, v) * v)


ROTATE = Operator(rotate, is_not_zero, is_shift=False, strength="angle", directions=2, prepare=_axes)
ROTATE_TO = Operator(rotate_to, always, is_shift=False, strength="angle", directions=2, prepare=_axes)
