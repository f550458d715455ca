"""`rotate` and `rotate_to`: the part of h in the plane of v and w, turned by an angle or to one (Angular Steering)."""

from __future__ import annotations

import torch
from torch import Tensor

from lm_eval_steer.interventions.operators.operator import Operator, always, is_not_zero


def rotate(hidden: Tensor, strength: Tensor, directions: Tensor) -> Tensor:
    """h' is h with its part in the plane turned by α degrees, from v towards w; what stands on the plane stays.

    Args:
        hidden: [rows, positions, hidden].
        strength: [rows, positions, 1]; 0 leaves h as it is, bit for bit.
        directions: v and w, not parallel [2, hidden], or [rows, 1, 2, hidden].
    """
    before, angle, v, w = _in_plane(hidden, strength, directions)
    x, y = ((before * axis).sum(dim=-1, keepdim=True) for axis in (v, w))
    less, sine = -2 * torch.sin(angle / 2).square(), torch.sin(angle)  # cos α - 1
    return (before + (x * less - y * sine) * v + (x * sine + y * less) * w).to(hidden.dtype)


def rotate_to(hidden: Tensor, strength: Tensor, directions: Tensor) -> Tensor:
    """h' is h with its part in the plane turned to α degrees from v towards w, at the length of that part.

    Args:
        hidden: [rows, positions, hidden].
        strength: [rows, positions, 1].
        directions: as of `rotate`.
    """
    before, angle, v, w = _in_plane(hidden, strength, directions)
    x, y = ((before * axis).sum(dim=-1, keepdim=True) for axis in (v, w))
    length = torch.hypot(x, y)
    return (before + (length * torch.cos(angle) - x) * v + (length * torch.sin(angle) - y) * w).to(hidden.dtype)


def _in_plane(hidden: Tensor, degrees: Tensor, directions: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """h, the angle in radians, and two axes of length 1 that stand on each other, the first along v."""
    dtype = torch.promote_types(hidden.dtype, torch.float32)
    v, w = directions.to(dtype).unbind(dim=-2)
    tiny = torch.finfo(dtype).tiny
    v = v / v.norm(dim=-1, keepdim=True).clamp_min(tiny)
    w = w - (w * v).sum(dim=-1, keepdim=True) * v
    w = w / w.norm(dim=-1, keepdim=True).clamp_min(tiny)
    return hidden.to(dtype), torch.deg2rad(degrees.to(dtype)), v, w


ROTATE = Operator(rotate, is_not_zero, is_shift=False, strength="angle", directions=2)
ROTATE_TO = Operator(rotate_to, always, is_shift=False, strength="angle", directions=2)
