"""Units of strength: a length in the residual stream, or a share of each position's ‖h‖ (`dose`)."""

from __future__ import annotations

import torch
from torch import Tensor

UNITS = ("length", "dose")


def share_of_norm(hidden: Tensor, share: Tensor, direction: Tensor) -> Tensor:
    """The α that makes ‖α·v‖ the given share of ‖h‖, position by position.

    Args:
        hidden: block output [rows, positions, hidden].
        share: of each row and position [rows, positions, 1].
        direction: v [hidden], or one per row [rows, 1, hidden].

    Returns:
        [rows, positions, 1].
    """
    tiny = torch.finfo(torch.float32).tiny
    length = direction.float().norm(dim=-1, keepdim=True).clamp_min(tiny)
    return share * hidden.float().norm(dim=-1, keepdim=True) / length
