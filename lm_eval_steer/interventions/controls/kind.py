"""What a kind of control is, and one control of that kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

Directions = Mapping[int, np.ndarray]
"""Child block -> float32 [child hidden]."""


@dataclass(frozen=True)
class Kind:
    """A kind of control; what is not said of it is as it is with the vector itself.

    Attributes:
        change: (directions in the child's space, seed) -> what is added to the child in their place, with the same
            blocks in the same order; None for a kind that steers nothing. The seed is None where `seeded` is False.
        seeded: whether there are many of the kind, numbered by a seed from 1 on: `name:3` is the one of seed 3 in a
            single run, and the three of the seeds 1 to 3 among the controls of a sweep.
        temperature: at which texts are drawn; None where they are as the task asks for them.
        regroups: whether requests are put into other batches than usual.
    """

    change: Callable[[Directions, int | None], dict[int, np.ndarray]] | None = None
    seeded: bool = False
    temperature: float | None = None
    regroups: bool = False

    @property
    def steers(self) -> bool:
        """Whether anything is added to the child."""
        return self.change is not None

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
