"""What a width map is fitted on: the states of both models on the same texts, at one block of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np

_CHUNK = 4096
"""Rows of a chunk."""


class Pairing(Protocol):
    """States of a parent and a child on the same texts, rows in the same order.

    Attributes:
        n: how many rows.
        widths: of the parent, of the child.
    """

    @property
    def n(self) -> int: ...

    @property
    def widths(self) -> tuple[int, int]: ...

    def chunks(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """All rows once, some at a time: float32 [rows, parent width] and [rows, child width]."""

    def rows(self, numbers: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Some rows by their numbers, in that order: float32 [numbers, parent width] and [numbers, child width]."""


class Arrays:
    """A `Pairing` of two arrays that lie in memory.

    Args:
        parent: states [rows, parent width].
        child: states [rows, child width].
        chunk: how many rows come at a time.
    """

    def __init__(self, parent: np.ndarray, child: np.ndarray, chunk: int = _CHUNK) -> None:
        if parent.ndim != 2 or child.ndim != 2 or len(parent) != len(child):
            raise ValueError(f"states of shape {parent.shape} and {child.shape} are no pairs of rows")
        self._parent, self._child, self._chunk = parent, child, chunk

    @property
    def n(self) -> int:
        return len(self._parent)

    @property
    def widths(self) -> tuple[int, int]:
        return self._parent.shape[1], self._child.shape[1]

    def chunks(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for start in range(0, self.n, self._chunk):
            yield self._parent[start : start + self._chunk], self._child[start : start + self._chunk]

    def rows(self, numbers: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        chosen = list(numbers)
        return self._parent[chosen], self._child[chosen]
