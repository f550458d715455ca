"""The vector against itself, carried by maps of shuffled texts: is there anything of the concept in it?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from lm_eval_steer.compare.stats.verdict import HELPS, HURTS, Verdict

K = TypeVar("K")

BETTER_THAN_SHUFFLED = "better than map-shuffled"
WORSE_THAN_SHUFFLED = "worse than map-shuffled"
NOT_FROM_SHUFFLED = "not distinguishable from map-shuffled"


@dataclass(frozen=True)
class ShuffledComparison(Generic[K]):
    """The vector's arm against each of its map-shuffled ones, which were searched and tested like it.

    A map that was fitted on texts paired at random carries nothing of the concept. So what a vector has of it must tell
    the vector from each of these, not from most: one that does as the vector does shows that it takes no concept.

    Attributes:
        against: control -> the verdict of `verdicts` on the control's scores before and the vector's after, adjusted
            by Holm over all such comparisons of one child and task. `helps` means that the vector scores higher.
    """

    against: Mapping[K, Verdict]

    @property
    def nearest(self) -> K:
        """The control that is hardest to tell from the vector: of the largest p, of equal ones the smallest change."""
        return max(self.against, key=lambda one: (self.against[one].mcnemar_p, -abs(self.against[one].change)))

    @property
    def word(self) -> str:
        """`BETTER_THAN_SHUFFLED` or `WORSE_THAN_SHUFFLED` than every one of them, else `NOT_FROM_SHUFFLED`."""
        words = {found.word for found in self.against.values()}
        if words == {HELPS}:
            return BETTER_THAN_SHUFFLED
        return WORSE_THAN_SHUFFLED if words == {HURTS} else NOT_FROM_SHUFFLED
