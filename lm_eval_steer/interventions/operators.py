"""What happens to a block's output: pure functions of activations, strengths and a direction."""

from __future__ import annotations

import torch
from torch import Tensor


def add(hidden: Tensor, strength: Tensor, direction: Tensor) -> Tensor:
    """h' = h + α·v, computed in float32 at least and rounded once to the dtype of `hidden`.

    Args:
        hidden: block output [rows, positions, hidden].
        strength: α of each row and position [rows, positions, 1]; 0 leaves the position as it is, bit for bit.
        direction: v [hidden].
    """
    dtype = torch.promote_types(hidden.dtype, torch.float32)
    return torch.addcmul(hidden.to(dtype), strength.to(dtype), direction.to(dtype)).to(hidden.dtype)


def add_keep_norm(hidden: Tensor, strength: Tensor, direction: Tensor) -> Tensor:
    """`add`, then scaled back to the length that h had; unsteered positions stay as they are, bit for bit."""
    dtype = torch.promote_types(hidden.dtype, torch.float32)
    before = hidden.to(dtype)
    after = torch.addcmul(before, strength.to(dtype), direction.to(dtype))
    tiny = torch.finfo(dtype).tiny
    scale = before.norm(dim=-1, keepdim=True) / after.norm(dim=-1, keepdim=True).clamp_min(tiny)
    return torch.where(strength != 0, after * scale, before).to(hidden.dtype)


def share_of_norm(hidden: Tensor, share: Tensor, direction: Tensor) -> Tensor:
    """The α that makes ‖α·v‖ the given share of ‖h‖, position by position.

    Args:
        hidden: block output [rows, positions, hidden].
        share: of each row and position [rows, positions, 1].
        direction: v [hidden].

    Returns:
        [rows, positions, 1].
    """
    tiny = torch.finfo(torch.float32).tiny
    return share * hidden.float().norm(dim=-1, keepdim=True) / direction.float().norm().clamp_min(tiny)
