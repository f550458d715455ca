"""Means of numbers that are not right or wrong, as log odds are: the t interval, by document."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np

from lm_eval_steer.compare.stats.changes import index_documents, mean_variance, read_changes, read_scores
from lm_eval_steer.compare.stats.intervals import check_level, paired_bootstrap
from lm_eval_steer.compare.stats.paired import paired_test


@dataclass(frozen=True)
class MeanChange:
    """A mean change between paired scores.

    Attributes:
        change: mean of after - before, in the unit of the scores.
        low: lower end of its interval; None where one document alone says nothing of others.
        high: upper end; likewise.
        p: two-sided, that the mean change is 0; likewise. Not adjusted for other tests.
    """

    change: float
    low: float | None
    high: float | None
    p: float | None


def mean_interval(
    values: Sequence[float], clusters: Sequence[Hashable] | None = None, level: float = 0.95
) -> tuple[float, float] | None:
    """The t interval of a mean, documents - 1 degrees of freedom, items of one document taken together.

    Args:
        values: [items].
        clusters: [items], which document an item belongs to; None where each occurs once.
        level: coverage, more than 0, less than 1.

    Returns:
        low and high, in the unit of the values; None for one document.

    Raises:
        SteeringError: for values that are no finite numbers, or a level out of range.
    """
    check_level(level)
    read = read_scores(values, "given")
    documents = index_documents(clusters, len(read))
    return _interval(np.bincount(documents, weights=read), np.bincount(documents).astype(np.float64), level)


def mean_change(
    before: Sequence[float],
    after: Sequence[float],
    clusters: Sequence[Hashable] | None = None,
    level: float = 0.95,
    seed: int = 0,
) -> MeanChange:
    """The mean change of paired scores: as a verdict has it where they are right or wrong, else by the paired t test.

    Why t for numbers such as log odds: simulated at a nominal 95 % with 16 / 50 / 200 documents, the t interval covers
    95 / 95 / 95 % where changes are normal, 96 / 96 / 95 % with heavy tails (t with 3 degrees of freedom), 92 / 94 /
    95 % where they are exponential, and 84 / 91 / 95 % where only one document in five changes; a BCa bootstrap 91 / 94
    / 94, 88 / 91 / 93, 91 / 94 / 96 and 84 / 92 / 95 %. It needs no seed, and excludes 0 exactly where p is below
    1 - level. `paired_bootstrap` is for right and wrong, of which few change: its pseudo-documents draw the centre of a
    shift of all documents towards 0.

    Args:
        before: [items], the scores of one arm.
        after: [items], those of the other, in the same order.
        clusters: [items], which document an item belongs to; None where each occurs once.
        level: coverage of the interval.
        seed: of the bootstrap, used for scores that are right or wrong.

    Raises:
        SteeringError: for scores that `read_changes` refuses, or a level out of range.
    """
    check_level(level)
    changes = read_changes(before, after, clusters)
    if changes.binary:
        low, high = paired_bootstrap(before, after, clusters, seed, level)
        return MeanChange(changes.mean, low, high, paired_test(before, after, clusters, seed))
    ends = _interval(changes.sums, changes.sizes, level)
    if ends is None:
        return MeanChange(changes.mean, None, None, None)
    return MeanChange(changes.mean, *ends, _p(changes.sums, changes.sizes))


def _interval(sums: np.ndarray, sizes: np.ndarray, level: float) -> tuple[float, float] | None:
    from scipy.stats import t

    if len(sums) < 2:
        return None
    mean = float(sums.sum() / sizes.sum())
    reach = float(t.isf((1 - level) / 2, len(sums) - 1)) * sqrt(mean_variance(sums, sizes))
    return mean - reach, mean + reach


def _p(sums: np.ndarray, sizes: np.ndarray) -> float:
    from scipy.stats import t

    mean, error = float(sums.sum() / sizes.sum()), sqrt(mean_variance(sums, sizes))
    if error == 0:
        return float(mean == 0)
    return float(2 * t.sf(abs(mean) / error, len(sums) - 1))
