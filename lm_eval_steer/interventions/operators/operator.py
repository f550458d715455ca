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


def as_it_is(direction: Tensor) -> tuple[Tensor, ...]:
    """`prepare` of operators that take the direction itself."""
    return (direction,)


@dataclass(frozen=True)
class Operator:
    """What happens to a block's output h [rows, positions, hidden] where it is steered.

    Attributes:
        change: (h, strength [rows, positions, 1], what `prepare` gives, one argument each) -> h'. An engine gives all
            of it in float32 at least, and rounds h' once. It keeps h itself, bit for bit, wherever its mask says that a
            position is not steered.
        acts: whether a strength does anything; a strength that does not is no intervention at all.
        is_shift: whether h' - h is strength times direction whatever h is. Engines then need not know h to apply it,
            and what survives of it in a dtype can be measured. It takes the direction itself.
        strength: what its strength is. A length is given to `change` in lengths of v, and is the only one of which a
            dose can be a share.
        signed: whether the opposite direction does something else.
        strong: sign of the strengths that change the most; an upper bound does where it is low.
        directions: how many it takes: the vector's, and that of `second` where they are two; `OF_THE_FILE` for a map
            of low rank, which has as many as the vector's file brings, and is applied by itself.
        prepare: direction [hidden], or of several [directions, hidden] -> tensors that `change` takes in its place
            [hidden], or [1]: an engine finds out once, and not on every pass, what hangs on the direction alone. Axes
            that are in front of these are in front of what comes out, too.
    """

    change: Callable[..., Tensor]
    acts: Callable[[float], bool]
    is_shift: bool
    strength: Strength = "length"
    signed: bool = True
    strong: int = 1
    directions: int = 1
    prepare: Callable[[Tensor], tuple[Tensor, ...]] = as_it_is

    def apply(self, hidden: Tensor, strength: Tensor, direction: Tensor) -> Tensor:
        """h' in the dtype of h, of directions as they are: all in one, for those who do it once.

        Args:
            hidden: h [rows, positions, hidden].
            strength: [rows, positions, 1].
            direction: [hidden] or [rows, 1, hidden]; of several [directions, hidden] or [rows, 1, directions, hidden].
        """
        dtype = torch.promote_types(hidden.dtype, torch.float32)
        of_it = self.prepare(direction.to(dtype))
        return self.change(hidden.to(dtype), strength.to(dtype), *of_it).to(hidden.dtype)

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
    """⟨h, v⟩ [rows, positions, 1].

    Args:
        hidden: [rows, positions, hidden], float32 at least.
        direction: [hidden] or [rows, 1, hidden], of the same dtype.
    """
    return (hidden * direction).sum(dim=-1, keepdim=True)


def length_of(hidden: Tensor) -> Tensor:
    """‖h‖ [rows, positions, 1]."""
    found: Tensor = torch.linalg.vector_norm(hidden, dim=-1, keepdim=True)
    return found


def with_reach(direction: Tensor) -> tuple[Tensor, Tensor]:
    """v, and v / ‖v‖², whose product with h says how far h reaches along v in lengths of v; 0 for a v of zeros."""
    square = direction.square().sum(dim=-1, keepdim=True).clamp_min(torch.finfo(direction.dtype).tiny)
    return direction, direction / square


def unit(direction: Tensor) -> Tensor:
    """v / ‖v‖; 0 for a v of zeros."""
    return direction / length_of(direction).clamp_min(torch.finfo(direction.dtype).tiny)
