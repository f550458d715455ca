"""`turn` and `slerp`: h' is h turned towards v in the plane of both, at the length of h (Spherical Steering)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lm_eval_steer.interventions.operators.operator import Operator, is_not_zero


def turn(hidden: Tensor, strength: Tensor, direction: Tensor) -> Tensor:
    """h turned by α degrees towards v, and beyond it where the angle between both is less."""
    return _turned(hidden, strength, direction, lambda angle, degrees: torch.deg2rad(degrees))


def slerp(hidden: Tensor, strength: Tensor, direction: Tensor) -> Tensor:
    """h turned by the share α of the angle between h and v: at strength 1 h' lies along v."""
    return _turned(hidden, strength, direction, lambda angle, share: share * angle)


def _turned(hidden: Tensor, strength: Tensor, direction: Tensor, by: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """h turned towards v; a strength of 0 leaves it as it is, bit for bit, and so does a v along or against h, with
    which it has no plane.

    Args:
        hidden, strength, direction: as for `Operator.apply`.
        by: (angle between h and v, strength) -> angle to turn by, in radians [rows, positions, 1].
    """
    dtype = torch.promote_types(hidden.dtype, torch.float32)
    before, strength, v = hidden.to(dtype), strength.to(dtype), direction.to(dtype)
    tiny = torch.finfo(dtype).tiny
    length = before.norm(dim=-1, keepdim=True)
    ahead = before / length.clamp_min(tiny)
    v = v / v.norm(dim=-1, keepdim=True).clamp_min(tiny)
    cosine = (ahead * v).sum(dim=-1, keepdim=True)
    across = v - cosine * ahead  # what of v stands on h
    sine = across.norm(dim=-1, keepdim=True)
    angle = by(torch.atan2(sine, cosine), strength)
    after = length * (torch.cos(angle) * ahead + torch.sin(angle) / sine.clamp_min(tiny) * across)
    has_plane = sine > 8 * torch.finfo(dtype).eps
    return torch.where((strength != 0) & has_plane, after, before).to(hidden.dtype)


TURN = Operator(turn, is_not_zero, is_shift=False, strength="angle")
SLERP = Operator(slerp, is_not_zero, is_shift=False, strength="share")
