"""Units of strength: a length in the residual stream, or a share of each position's ‖h‖ (`dose`)."""

from __future__ import annotations

import torch
from torch import Tensor

UNITS = ("length", "dose")


def size_of(direction: Tensor) -> Tensor:
    """‖v‖ of v [hidden], with any axes in front [1]; infinite of a direction of zeros, of which a share is nothing."""
    length = torch.linalg.vector_norm(direction.float(), dim=-1, keepdim=True)
    return torch.where(length == 0, torch.inf, length)


def share_of_norm(hidden: Tensor, share: Tensor, size: Tensor) -> Tensor:
    """The α that makes ‖α·v‖ the given share of ‖h‖, position by position.

    Args:
        hidden: what is steered [rows, positions, hidden], with heads [rows, positions, heads, head_dim].
        share: of each row and position [rows, positions, 1], or [rows, positions, 1, 1].
        size: of v [1] or [heads, 1], or one per row [rows, 1, 1] (`size_of`).

    Returns:
        [rows, positions, 1], or of each head [rows, positions, heads, 1].
    """
    return share * torch.linalg.vector_norm(hidden.float(), dim=-1, keepdim=True) / size
