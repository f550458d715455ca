"""What an operator is to an engine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Operator:
    """What happens to a block's output h [rows, positions, hidden] where it is steered.

    Attributes:
        apply: (h, strength [rows, positions, 1], direction [hidden] or [rows, 1, hidden]) -> h', in the dtype of h,
            computed in float32 at least and rounded once. An engine keeps h itself, bit for bit, wherever its mask says
            that a position is not steered.
        acts: whether a strength does anything; a strength that does not is no intervention at all.
        is_shift: whether h' - h is strength times direction whatever h is. Engines then need not know h to apply it,
            and what survives of it in a dtype can be measured.
    """

    apply: Callable[[Tensor, Tensor, Tensor], Tensor]
    acts: Callable[[float], bool]
    is_shift: bool


def is_not_zero(strength: float) -> bool:
    """`acts` of operators that change nothing at strength 0."""
    return strength != 0
