"""States of a parent and a child on the same texts, row by row: what a width map is fitted on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.transfer.cache import Places, States

_CHUNK = 2048
"""Rows of a chunk."""


def split(n: int, seed: int, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of texts to fit on and, drawn by `seed`, those to judge the fit on: int64, ascending.

    Args:
        n: how many texts there are.
        seed: which are held out.
        share: of the texts that are held out, rounded; one at least where there are two.
    """
    held = max(1, round(n * share)) if n > 1 else 0
    order = np.random.default_rng(seed).permutation(n)
    return np.sort(order[held:]), np.sort(order[:held])


@dataclass(frozen=True, eq=False)
class Aligned:
    """Which row of a parent's states goes with which of a child's.

    Attributes:
        parent: its states.
        child: its states.
        texts: int64 [rows], the text of each row, ascending.
        ours: int64 [rows], row of the parent's states.
        theirs: int64 [rows], row of the child's states.
    """

    parent: States
    child: States
    texts: np.ndarray
    ours: np.ndarray
    theirs: np.ndarray

    def pairing(
        self, parent_block: int, child_block: int, texts: Sequence[int] | np.ndarray, shuffle_seed: int | None = None
    ) -> Paired:
        """States behind two blocks on some texts.

        Args:
            parent_block: from 0.
            child_block: from 0.
            texts: their numbers; rows come in the order of the texts.
            shuffle_seed: pair each text of the parent with another of the child, all in one cycle that is drawn; where
                a text has several rows, the first with the first, as far as both have some. A map that is fitted on
                such rows knows nothing of what the texts say. None pairs each text with itself.

        Raises:
            SteeringError: for fewer than two texts to shuffle.
        """
        ours, theirs = self._rows(texts) if shuffle_seed is None else self._shuffled(texts, shuffle_seed)
        return Paired(self.parent, self.child, parent_block, child_block, ours, theirs)

    def parent_rows(self, block: int, texts: Sequence[int] | np.ndarray) -> np.ndarray:
        """The parent's states behind a block on some texts: float32 [rows, width]."""
        return self.parent.rows(block, self._rows(texts)[0])

    def child_rows(self, block: int, texts: Sequence[int] | np.ndarray) -> np.ndarray:
        """The child's states behind a block on some texts, in the same order: float32 [rows, width]."""
        return self.child.rows(block, self._rows(texts)[1])

    def _rows(self, texts: Sequence[int] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        chosen = np.isin(self.texts, texts)
        return self.ours[chosen], self.theirs[chosen]

    def _shuffled(self, texts: Sequence[int] | np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
        present, begins = np.unique(self.texts, return_index=True)
        ends = np.append(begins[1:], len(self.texts))
        chosen = np.flatnonzero(np.isin(present, texts))
        if len(chosen) < 2:
            raise SteeringError(f"{len(chosen)} text cannot be paired with another one: give more texts")
        cycle = np.random.default_rng(seed).permutation(chosen)
        partner = dict(zip(cycle, np.roll(cycle, 1), strict=True))
        ours, theirs = [], []
        for one in chosen:
            other = partner[one]
            count = min(ends[one] - begins[one], ends[other] - begins[other])
            ours.append(self.ours[begins[one] : begins[one] + count])
            theirs.append(self.theirs[begins[other] : begins[other] + count])
        return np.concatenate(ours), np.concatenate(theirs)


class Paired:
    """A `Pairing` (interventions/width_maps/pairing.py) of states that lie on the disk."""

    def __init__(
        self,
        parent: States,
        child: States,
        parent_block: int,
        child_block: int,
        ours: np.ndarray,
        theirs: np.ndarray,
    ) -> None:
        self._parent, self._child = parent, child
        self._parent_block, self._child_block = parent_block, child_block
        self._ours, self._theirs = ours, theirs

    @property
    def n(self) -> int:
        """How many rows."""
        return len(self._ours)

    @property
    def widths(self) -> tuple[int, int]:
        """Of the parent, of the child."""
        return self._parent.width, self._child.width

    def chunks(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """All rows once, some at a time: float32 [rows, parent width] and [rows, child width]."""
        for start in range(0, self.n, _CHUNK):
            yield self._read(slice(start, start + _CHUNK))

    def rows(self, numbers: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Some rows by their numbers, in that order: float32 [numbers, parent width] and [numbers, child width]."""
        return self._read(np.asarray(numbers, dtype=np.int64))

    def _read(self, numbers: slice | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        ours = self._parent.rows(self._parent_block, self._ours[numbers])
        return ours, self._child.rows(self._child_block, self._theirs[numbers])


def align(parent: States, child: States) -> Aligned:
    """The rows of two models that belong together: of a text the last tokens, or the means; for `all` the tokens that
    end behind the same character of it, whatever they begin with.

    Raises:
        SteeringError: for states of other texts, tokens or templates, and for tokenizers that never end a token at the
            same place.
    """
    for what, one, two in (
        ("texts", parent.meta.texts_sha256, child.meta.texts_sha256),
        ("tokens", parent.meta.tokens, child.meta.tokens),
        ("apply_chat_template", parent.meta.apply_chat_template, child.meta.apply_chat_template),
    ):
        if one != two:
            raise SteeringError(
                f"the states of {parent.name} and {child.name} are not of the same {what} ({one} and {two}): read both "
                "again with the same arguments"
            )
    longest = 1 + max(int(states.places.ends.max()) for states in (parent, child))
    keys, ours, theirs = np.intersect1d(
        _keys(parent.places, longest), _keys(child.places, longest), assume_unique=True, return_indices=True
    )
    if not len(keys):
        raise SteeringError(
            f"the tokenizers of {parent.name} and {child.name} end no token of the texts behind the same character: "
            "use --tokens last"
        )
    return Aligned(parent, child, keys // longest, ours, theirs)


def _keys(places: Places, longest: int) -> np.ndarray:
    """A number for each row that says its text and where in it the row's token ends."""
    texts = np.argsort(places.first)
    return np.repeat(texts, places.count[texts]) * longest + places.ends
