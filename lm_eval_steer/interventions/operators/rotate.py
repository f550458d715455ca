"""`rotate` and `rotate_to`: the part of h in the plane of v and w, turned by an angle or to one (Angular Steering)."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from lm_eval_steer.interventions.operators.operator import Operator, along, always, is_not_zero, unit


def rotate(hidden: Tensor, strength: Tensor, v: Tensor, w: Tensor, half: Tensor) -> Tensor:
    """h' is h with its part in the plane turned by α degrees, from v towards w; what stands on the plane stays.

    Args:
        hidden: [rows, positions, hidden].
        strength: [rows, positions, 1]; 0 leaves h as it is, bit for bit.
        v, w: two axes of length 1 that stand on each other.
        half: half a degree in radians [1].
    """
    x, y, angle = along(hidden, v), along(hidden, w), strength * half
    sine, cosine = torch.sin(angle), torch.cos(angle)  # x cos α - y sin α - x = -2 sin α/2 (x sin α/2 + y cos α/2)
    less_v, less_w = torch.addcmul(x * sine, y, cosine) * sine, torch.addcmul(y * sine, x, cosine, value=-1) * sine
    return torch.addcmul(torch.addcmul(hidden, less_v, v, value=-2), less_w, w, value=-2)


def rotate_to(hidden: Tensor, strength: Tensor, v: Tensor, w: Tensor, degree: Tensor) -> Tensor:
    """h' is h with its part in the plane turned to α degrees from v towards w, at the length of that part.

    Args:
        hidden: [rows, positions, hidden].
        strength: [rows, positions, 1].
        v, w: as of `rotate`.
        degree: in radians [1].
    """
    x, y, angle = along(hidden, v), along(hidden, w), strength * degree
    length = torch.hypot(x, y)
    return torch.addcmul(torch.addcmul(hidden, length * torch.cos(angle) - x, v), length * torch.sin(angle) - y, w)


def _axes(directions: Tensor) -> tuple[Tensor, Tensor]:
    """Two axes of length 1 that stand on each other, the first along v, of v and w, not parallel [2, hidden]."""
    v, w = directions.unbind(dim=-2)
    v = unit(v)
    return v, unit(w - along(w, v) * v)


def _with_degrees(number: float) -> Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]:
    """`prepare`: the axes, and a number of degrees in radians [1]."""

    def prepare(directions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        v, w = _axes(directions)
        return v, w, torch.full_like(v[..., :1], math.radians(number))

    return prepare


ROTATE = Operator(rotate, is_not_zero, is_shift=False, strength="angle", directions=2, prepare=_with_degrees(0.5))
ROTATE_TO = Operator(rotate_to, always, is_shift=False, strength="angle", directions=2, prepare=_with_degrees(1))
