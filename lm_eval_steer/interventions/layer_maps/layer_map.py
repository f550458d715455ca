"""What a layer map is: which block of the child takes the direction of which block of the parent."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

Sources = Callable[[Sequence[int], int, int], Mapping[int, int]]
"""(blocks of the parent that have a direction, ascending; how many blocks the parent has; how many the child has) ->
block of the child -> block of the parent that its direction comes from. Blocks of the child that get none are left out.
"""

Path = Callable[[np.ndarray], Mapping[int, int]]
"""Similarity of states [parent blocks, child blocks] -> block of the child -> block of the parent, each counted as the
rows and columns are."""


@dataclass(frozen=True)
class LayerMap:
    """A layer map, by the numbers of blocks or by the similarity of their states: one of the two functions is given.

    Attributes:
        words: what it does, for sentences: `block l to block l`.
        sources: from the numbers of blocks.
        path: from the similarity of states on the same texts, which only `lm-eval-steer transfer` reads.
    """

    words: str
    sources: Sources | None = None
    path: Path | None = None

    def __post_init__(self) -> None:
        if (self.sources is None) == (self.path is None):
            raise ValueError(f"the layer map {self.words!r} has to have either sources or a path")
