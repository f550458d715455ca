"""One row's verdict: does the arm help, by how much, and what would have gone unnoticed?"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import sqrt
from typing import TypeVar

import numpy as np

from lm_eval_steer.compare.stats.changes import Changes, mean_variance, read_changes
from lm_eval_steer.compare.stats.intervals import check_level, paired_bootstrap
from lm_eval_steer.compare.stats.paired import holm, paired_test
from lm_eval_steer.compare.stats.power import detectable_by_sign_flips, smallest_detectable
from lm_eval_steer.compare.stats.together import (
    RESAMPLES,
    Together,
    bootstrap_change,
    randomisation,
    standard_error,
)

K = TypeVar("K", bound=Hashable)

HELPS = "helps"
HURTS = "hurts"
NO_EVIDENCE = "no evidence at this n"


@dataclass(frozen=True)
class Pair:
    """The scores of the baseline and of one arm on the same items.

    Attributes:
        before: [items], the baseline's.
        after: [items], the arm's, in the same order.
        clusters: [items], which document an item belongs to; None where each occurs once.
        together: both arms, where their scores are no means of the items' but of documents together. `before` and
            `after` are then what moves these (`influences`).
    """

    before: Sequence[float]
    after: Sequence[float]
    clusters: Sequence[Hashable] | None = None
    together: Together | None = None

    def __post_init__(self) -> None:
        read_changes(self.before, self.after, self.clusters)


@dataclass(frozen=True)
class Verdict:
    """What the paired scores of an arm and its baseline say.

    Attributes:
        change: mean of after - before, in the unit of the scores; of documents together, the change of their score.
        low: lower end of its interval, which is not adjusted for the family.
        high: upper end.
        mcnemar_p: p of `paired_test`, not adjusted: exact McNemar, or sign flips of documents where those repeat or
            scores are not binary; of documents together that of `change_together`.
        holm_p: the same, adjusted by Holm over the family.
        mde: smallest change that would have been found at the power asked for and at alpha / (tests of the family),
            the level that Holm's first step uses; from the observed discordance. None where none would have been.
        word: `HELPS` or `HURTS` where holm_p <= alpha, else `NO_EVIDENCE`.
    """

    change: float
    low: float
    high: float
    mcnemar_p: float
    holm_p: float
    mde: float | None
    word: str


def verdict(
    before: Sequence[float],
    after: Sequence[float],
    clusters: Sequence[Hashable] | None = None,
    alpha: float = 0.05,
    level: float = 0.95,
    power: float = 0.8,
    seed: int = 0,
) -> Verdict:
    """The verdict of an arm that is its whole family; scores as in `Pair`, the rest as in `verdicts`."""
    return verdicts({"": Pair(before, after, clusters)}, alpha, level, power, seed)[""]


def verdicts(
    family: Mapping[K, Pair], alpha: float = 0.05, level: float = 0.95, power: float = 0.8, seed: int = 0
) -> dict[K, Verdict]:
    """The verdict of each arm of a family.

    Args:
        family: name of the arm -> its scores; all steered arms of one child x task that are tested against a baseline,
            those that are not shown included.
        alpha: chance, at most, that any arm of the family without an effect is called helpful or harmful.
        level: of the intervals.
        power: of the smallest detectable change.
        seed: of the bootstrap.

    Returns:
        In the order of the family, whose names are what to print as Holm's family.
    """
    check_level(alpha, "alpha")
    raw = {name: _measure(pair, level, seed) for name, pair in family.items()}
    adjusted = dict(zip(raw, holm([one.p for one in raw.values()]), strict=True))
    found = {}
    for name, one in raw.items():
        mde = one.detectable(alpha / len(family), power)
        word = NO_EVIDENCE if adjusted[name] > alpha else HELPS if one.change > 0 else HURTS
        found[name] = Verdict(one.change, one.low, one.high, one.p, adjusted[name], mde, word)
    return found


def pair_p(pair: Pair, seed: int = 0) -> float:
    """p of a pair, alone: that of a verdict, before Holm."""
    if pair.together:
        return randomisation(pair.together, seed)
    return paired_test(pair.before, pair.after, pair.clusters, seed)


@dataclass(frozen=True)
class _Measured:
    """A pair's change with its interval and p; and level and power -> the smallest detectable change."""

    change: float
    low: float
    high: float
    p: float
    detectable: Callable[[float, float], float | None]


def _measure(pair: Pair, level: float, seed: int) -> _Measured:
    p = pair_p(pair, seed)
    if pair.together:
        return _Measured(*bootstrap_change(pair.together, level, seed), p, partial(_detectable_together, pair.together))
    changes = read_changes(pair.before, pair.after, pair.clusters)
    ends = paired_bootstrap(pair.before, pair.after, pair.clusters, seed, level)
    return _Measured(changes.mean, *ends, p, partial(_detectable, changes))


def _detectable_together(arms: Together, alpha: float, power: float) -> float | None:
    """Smallest detectable change of the randomisation, which behaves as sign flips of the documents' influences."""
    changed = int(np.count_nonzero(arms.differ))
    if max(2.0 ** (1 - changed), 2 / (RESAMPLES + 1)) > alpha:
        return None
    return detectable_by_sign_flips(standard_error(arms), arms.documents, 0.0, alpha, power)


def _detectable(changes: Changes, alpha: float, power: float) -> float | None:
    """Smallest detectable change of the test that `paired_test` chooses."""
    changed = int(np.count_nonzero(changes.sums))
    documents = len(changes.sums)
    if changes.binary and changes.single:
        return smallest_detectable(documents, changed / documents, alpha, power)
    if 2.0 ** (1 - changed) > alpha:  # not even changes in one direction are significant
        return None
    error = sqrt(mean_variance(changes.sums, changes.sizes))
    step = 1 / float(changes.sizes.sum()) if changes.binary else 0.0
    mde = detectable_by_sign_flips(error, documents, step, alpha, power)
    return None if mde is not None and changes.binary and mde > 1 else mde
