"""Units of strength: a length in the residual stream, or a share of each position's ‖h‖ (`dose`)."""

from __future__ import annotations

import torch
from torch import Tensor

UNITS = ("length", "dose")


def share_of_norm(hidden: Tensor, share: Tensor, direction: Tensor) -> Tensor:
    """The α that makes ‖α·v‖ the given share of ‖h‖, position by position.

    Args:
        hidden: what is steered [rows, positions, hidden], with heads [rows, positions, heads, head_dim].
        share: of each row and position [rows, positions, 1], or [rows, positions, 1, 1].
        direction: v [hidden] or [heads, head_dim], or one per row [rows, 1, hidden]; 0 of a direction of zeros.

    Returns:
        [rows, positions, 1], or of each head [rows, positions, heads, 1].
    """
    length = direction.float().norm(dim=-1, keepdim=True)
    length = torch.where(length == 0, torch.inf, length)  # of a head that is not steered
    return share * hidden.float().norm(dim=-1, keepdim=True) / length
