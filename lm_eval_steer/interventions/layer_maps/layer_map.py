"""What a layer map is: which block of the child takes the direction of which block of the parent."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class LayerMap:
    """A layer map.

    Attributes:
        words: what it does, for sentences: `block l to block l`.
        sources: (blocks of the parent that have a direction, ascending; how many blocks the parent has; how many the
            child has) -> block of the child -> block of the parent that its direction comes from. Blocks of the child
            that get none are left out.
    """

    words: str
    sources: Callable[[Sequence[int], int, int], Mapping[int, int]]
