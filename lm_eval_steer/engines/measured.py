"""Measured: what a run's steering amounted to, as data that adds up over ranks, replicas and starts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

Sums = dict[int, list[float]]
"""Block -> positions, ‖Δ‖ / ‖h‖, ⟨Δ, v⟩ and α·‖v‖² (engines/doses.py), summed over the positions."""


@dataclass(frozen=True)
class Measured:
    """Sums of one engine, or of several.

    Attributes:
        doses: fingerprint of an intervention -> its sums by block.
        steered: block -> rows and positions that were steered there.
        implied: block -> how many prompts, responses and token rules imply.
        not_compared: why `steered` and `implied` need not be equal; empty where they must be.
    """

    doses: dict[str, Sums] = field(default_factory=dict)
    steered: dict[int, int] = field(default_factory=dict)
    implied: dict[int, int] = field(default_factory=dict)
    not_compared: str = ""

    def __add__(self, other: Measured) -> Measured:
        return add_up((self, other))


def add_up(parts: Iterable[Measured]) -> Measured:
    """The sums of several."""
    doses: dict[str, Sums] = {}
    steered, implied = Counter[int](), Counter[int]()
    reason = ""
    for part in parts:
        for fingerprint, blocks in part.doses.items():
            found = doses.setdefault(fingerprint, {})
            for block, sums in blocks.items():
                found[block] = (np.asarray(found.get(block, [0.0] * len(sums))) + np.asarray(sums)).tolist()
        steered.update(part.steered)
        implied.update(part.implied)
        reason = reason or part.not_compared
    return Measured(doses, dict(sorted(steered.items())), dict(sorted(implied.items())), reason)
