"""What an operator is to an engine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Strength = Literal["length", "share", "angle"]
"""What the strength of an operator is: a length along v, a share (1 for all of it), or an angle in degrees."""

WORDS: dict[Strength, str] = {
    "length": "a length along the vector",
    "share": "a share, 1 for all of it",
    "angle": "an angle in degrees",
}


OF_THE_FILE = 0
"""Of `Operator.directions`: a map, as `low_rank` takes it."""


@dataclass(frozen=True)
class Operator:
    """What happens to a block's output h [rows, positions, hidden] where it is steered.

    Attributes:
        apply: (h, strength [rows, positions, 1], direction [hidden] or [rows, 1, hidden]) -> h', in the dtype of h,
            computed in float32 at least and rounded once. An engine keeps h itself, bit for bit, wherever its mask says
            that a position is not steered. An operator of several directions is given [directions, hidden] or
            [rows, 1, directions, hidden].
        acts: whether a strength does anything; a strength that does not is no intervention at all.
        is_shift: whether h' - h is strength times direction whatever h is. Engines then need not know h to apply it,
            and what survives of it in a dtype can be measured.
        strength: what its strength is. A length is given to `apply` in lengths of v, and is the only one of which a
            dose can be a share.
        signed: whether the opposite direction does something else.
        strong: sign of the strengths that change the most; an upper bound does where it is low.
        directions: how many it takes: the vector's, and that of `second` where they are two; `OF_THE_FILE` for a map
            of low rank, which has as many as the vector's file brings, and is applied by itself.
    """

    apply: Callable[[Tensor, Tensor, Tensor], Tensor]
    acts: Callable[[float], bool]
    is_shift: bool
    strength: Strength = "length"
    signed: bool = True
    strong: int = 1
    directions: int = 1

    @property
    def needs_whole(self) -> bool:
        """Whether it reads h, over its whole width: then an engine cannot apply it to a part of h, be that one of
        several ranks' or one of two tensors whose sum h is. A shift can be added to any of them."""
        return not self.is_shift


def is_not_zero(strength: float) -> bool:
    """`acts` of operators that change nothing at strength 0."""
    return strength != 0


def always(strength: float) -> bool:
    """`acts` of operators that set a value, of which 0 is one like others."""
    return True


def along(hidden: Tensor, direction: Tensor) -> Tensor:
    """⟨h, v⟩ / ‖v‖², how far h reaches along v in lengths of v; 0 for a v of zeros.

    Args:
        hidden: [rows, positions, hidden], float32 at least.
        direction: [hidden] or [rows, 1, hidden], of the same dtype.

    Returns:
        [rows, positions, 1].
    """
    square = direction.square().sum(dim=-1, keepdim=True).clamp_min(torch.finfo(direction.dtype).tiny)
    return (hidden * direction).sum(dim=-1, keepdim=True) / square
