"""What a kind of control is, and one control of that kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

Directions = Mapping[int, np.ndarray]
"""Child block -> float32 [child hidden]."""


@dataclass(frozen=True)
class Files:
    """Files that hold the controls of a kind, each beside the file of the vector that it is of.

    All functions take the passport of a vector file (docs/FORMAT.md), whatever it holds.

    Attributes:
        origin: what a vector and its controls have in common, as text; None for a vector that has no such controls.
        seed: which of the kind a file is; None for one that is no such control.
        command: (passport of the vector, seed, file) -> the command that makes the file.
        takes: what a vector must be to have such controls, for sentences: "a map fitted ...".
    """

    origin: Callable[[Mapping[str, Any]], str | None]
    seed: Callable[[Mapping[str, Any]], int | None]
    command: Callable[[Mapping[str, Any], int, str], str]
    takes: str


@dataclass(frozen=True)
class Kind:
    """A kind of control; what is not said of it is as it is with the vector itself.

    Attributes:
        change: (directions in the child's space, seed) -> what is added to the child in their place, with the same
            blocks in the same order; None for a kind that steers nothing, and for one of files. The seed is None where
            `seeded` is False.
        seeded: whether there are many of the kind, numbered by a seed from 1 on: `name:3` is the one of seed 3 in a
            single run, and the three of the seeds 1 to 3 among the controls of a sweep.
        temperature: at which texts are drawn; None where they are as the task asks for them.
        regroups: whether requests are put into other batches than usual.
        shared: whether it hangs on the lengths of the directions alone, so that one stands for all vectors of a sweep
            whose directions have length 1. Of other kinds that steer, each vector has its own.
        opposite: whether it is the vector turned round, which under some operators does the same.
        files: where the directions lie, of a kind that is no change of the vector's: in a vector file of their own.
    """

    change: Callable[[Directions, int | None], dict[int, np.ndarray]] | None = None
    seeded: bool = False
    temperature: float | None = None
    regroups: bool = False
    shared: bool = False
    opposite: bool = False
    files: Files | None = None

    @property
    def steers(self) -> bool:
        """Whether anything is added to the child."""
        return self.change is not None or self.files is not None

    @property
    def is_of_each(self) -> bool:
        """Whether each vector of a sweep has its own, since one cannot stand for all."""
        return self.steers and not self.shared

    @property
    def draws(self) -> bool:
        """Whether texts are drawn, so that there is one per strength without any steering."""
        return self.temperature is not None

    @property
    def is_plain(self) -> bool:
        """Whether the model answers as it does by itself: once, whatever strengths are given."""
        return not self.steers and not self.draws


def length(direction: np.ndarray) -> float:
    """Euclidean length of a direction [child hidden]."""
    return float(np.linalg.norm(direction.astype(np.float64)))
