"""Measured: what a run's steering amounted to, as data that adds up over ranks, replicas and starts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from lm_eval_steer.sites import Place, in_order

Sums = dict[Place, list[float]]
"""Place (a block, or another site of one) -> positions, ‖Δ‖ / ‖h‖, ⟨Δ, v⟩ and α·‖v‖² (engines/doses.py), summed over
the positions."""


@dataclass(frozen=True)
class Measured:
    """Sums of one engine, or of several.

    Attributes:
        doses: fingerprint of an intervention -> its sums by place.
        steered: place -> rows and positions that were steered there.
        implied: place -> how many prompts, responses and token rules imply.
        not_compared: why `steered` and `implied` need not be equal; empty where they must be.
    """

    doses: dict[str, Sums] = field(default_factory=dict)
    steered: dict[Place, int] = field(default_factory=dict)
    implied: dict[Place, int] = field(default_factory=dict)
    not_compared: str = ""

    def __add__(self, other: Measured) -> Measured:
        return add_up((self, other))


def add_up(parts: Iterable[Measured]) -> Measured:
    """The sums of several."""
    doses: dict[str, Sums] = {}
    steered, implied = Counter[Place](), Counter[Place]()
    reason = ""
    for part in parts:
        for fingerprint, places in part.doses.items():
            found = doses.setdefault(fingerprint, {})
            for place, sums in places.items():
                found[place] = (np.asarray(found.get(place, [0.0] * len(sums))) + np.asarray(sums)).tolist()
        steered.update(part.steered)
        implied.update(part.implied)
        reason = reason or part.not_compared
    return Measured(doses, _in_order(steered), _in_order(implied), reason)


def _in_order(counts: Mapping[Place, int]) -> dict[Place, int]:
    return {place: counts[place] for place in in_order(counts)}
