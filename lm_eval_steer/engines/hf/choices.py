"""The choices of a multiple-choice document behind one context, in one row of a batch.

    context | first choice | second choice | ...

A mask of attention shows each choice the context and itself alone, at the positions that it would have by itself. So a
document's own text is run once per intervention, however many choices it has.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from itertools import chain

import torch
from torch import Tensor


@dataclass(frozen=True)
class ScoredRow:
    """One continuation of one context under one intervention, to be scored.

    Attributes:
        context: token ids, one at least.
        continuation: token ids, one at least.
        intervention: number of the intervention.
    """

    context: list[int]
    continuation: list[int]
    intervention: int


@dataclass
class Tree:
    """A context and the tails that follow it: choices without their last token, which no forward pass needs.

    Attributes:
        context: token ids.
        intervention: number of the intervention.
        starts: tail -> where it begins in `tokens`. Choices that differ in their last token only have one tail.
        choices: number of a ScoredRow and its tail.
        tokens: of the row.
    """

    context: list[int]
    intervention: int
    starts: dict[tuple[int, ...], int] = field(default_factory=dict)
    choices: list[tuple[int, tuple[int, ...]]] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)

    def has_room(self, tail: tuple[int, ...], width: int) -> bool:
        """Whether the row has the tail already, or is no longer than `width` with it."""
        return tail in self.starts or len(self.tokens) + len(tail) <= width

    def add(self, number: int, tail: tuple[int, ...]) -> None:
        """Take another choice."""
        self.tokens = self.tokens or list(self.context)
        if tail not in self.starts:
            self.starts[tail] = len(self.tokens)
            self.tokens.extend(tail)
        self.choices.append((number, tail))

    def predicting(self, tail: tuple[int, ...]) -> list[int]:
        """Where in `tokens` the tokens of a choice are predicted: at the end of the context and along its tail."""
        start = self.starts[tail]
        return [len(self.context) - 1, *range(start, start + len(tail))]

    @property
    def parts(self) -> list[int]:
        """Of each token, 0 for the context and the number of its tail, from 1 on."""
        sizes = [len(self.context), *map(len, self.starts)]
        return list(chain.from_iterable([part] * size for part, size in enumerate(sizes)))

    @property
    def positions(self) -> list[int]:
        """Of each token, its position in the text of its choice."""
        begin = len(self.context)
        return [*range(begin), *chain.from_iterable(range(begin, begin + len(tail)) for tail in self.starts)]


def plant(rows: Sequence[ScoredRow], limit: int, together: bool, apart: Collection[int] = frozenset()) -> list[Tree]:
    """The rows as trees.

    Args:
        rows: in any order.
        limit: tokens that the model takes; of longer texts the first are left out, as HFLM does.
        together: whether choices of one context and intervention stand in one tree, as long as their tails are not
            longer than it, or each tail in one of its own.
        apart: interventions whose tails stand by themselves all the same.
    """
    trees: list[Tree] = []
    last: dict[tuple[tuple[int, ...], int, tuple[int, ...]], Tree] = {}
    for number, row in enumerate(rows):
        text = (row.context + row.continuation)[-(limit + 1) : -1]
        tail = tuple(row.continuation[:-1])
        context = text[: len(text) - len(tail)]
        key = (tuple(context), row.intervention, () if together and row.intervention not in apart else tail)
        tree = last.get(key)
        if tree is None or not tree.has_room(tail, 2 * len(context)):
            tree = last[key] = Tree(context, row.intervention)
            trees.append(tree)
        tree.add(number, tail)
    return trees


def is_plain(tree: Tree) -> bool:
    """Whether the row is a text like any other, which needs no mask."""
    return sum(1 for tail in tree.starts if tail) < 2


def tree_mask(trees: Sequence[Tree], shared: int, width: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """What is added to the scores of attention: 0 for what a position may look at, the least number elsewhere.

    Args:
        trees: the rows, padded on the right.
        shared: how many of the first positions are in the KV cache already.
        width: positions of the batch.

    Returns:
        [rows, 1, width - shared, width].
    """
    padded = torch.tensor([tree.parts + [0] * (width - len(tree.tokens)) for tree in trees], device=device)
    key, query = padded[:, None, :], padded[:, shared:, None]
    place = torch.arange(width, device=device)
    seen = (place <= place[shared:, None]) & ((key == 0) | (key == query))
    mask = torch.zeros(seen.shape, dtype=dtype, device=device)
    return mask.masked_fill_(~seen, torch.finfo(dtype).min)[:, None]


def tree_positions(trees: Sequence[Tree], shared: int, width: int, device: torch.device) -> Tensor:
    """`position_ids` [rows, width - shared]; those of the padding mean nothing."""
    rows = [tree.positions + [0] * (width - len(tree.tokens)) for tree in trees]
    return torch.tensor(rows, device=device)[:, shared:]
