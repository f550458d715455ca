"""A race of strengths: documents in growing rounds, and no more of them for a strength that cannot be the best.

After each round the strength with the best mean is the leader, and every other one is held against it, paired by
document: by the exact sign test where all scores are right or wrong, whose interval is that of the share of gains among
the documents that differ, else by the t interval of the mean difference. One whose interval excludes that it is as good
as the leader leaves.

All comparisons of a race share `ERROR`: an interval is one-sided, at the level 1 - ERROR / (rounds * (strengths - 1)).
The strength that is the best in truth leaves only where some other one beats it in such an interval, so the race loses
it with a chance of `ERROR` at most. Documents must come in an order that has nothing to do with them.

Source: Maron and Moore (1994), "Hoeffding races", with paired tests in place of Hoeffding's bound, as Birattari et al.
(2002), "A racing algorithm for configuring metaheuristics", have it.
"""

from __future__ import annotations

import math

import numpy as np

from lm_eval_steer.compare.stats.changes import is_binary

ERROR = 0.05
"""The largest chance that a race loses the strength that is the best in truth."""

FIRST = 16
"""Documents of the first round; of fewer no interval at this level could exclude anything. Each round doubles them."""


class Race:
    """Which strengths are still in a race, and on how many documents each was scored.

    Attributes:
        rounds: documents of each round, those of earlier rounds included; the last one has all.
        left: places of the strengths that are still in it, in order.
        documents: [strengths], on how many each was scored.

    Args:
        strengths: how many there are, 1 or more.
        documents: how many there are, 1 or more.
        error: largest chance to lose the best.
    """

    def __init__(self, strengths: int, documents: int, error: float = ERROR) -> None:
        self.rounds = rounds_of(documents)
        self.left = list(range(strengths))
        self.documents = [0] * strengths
        self._level = error / (len(self.rounds) * max(1, strengths - 1))

    @property
    def is_open(self) -> bool:
        """Whether more documents may change who is the best."""
        return len(self.left) > 1 or not self.documents[self.left[0]]

    def judge(self, scores: np.ndarray) -> None:
        """End a round.

        Args:
            scores: [strengths that are left, documents so far], the higher the better.
        """
        for place in self.left:
            self.documents[place] = scores.shape[1]
        kept = ~excluded(scores, self._level)
        self.left = [place for place, stays in zip(self.left, kept, strict=True) if stays]


def rounds_of(documents: int) -> tuple[int, ...]:
    """Documents of each round: `FIRST`, then twice as many as before, at last all."""
    sizes = [FIRST << number for number in range(documents.bit_length())]
    return (*(size for size in sizes if size < documents), documents)


def excluded(scores: np.ndarray, level: float) -> np.ndarray:
    """bool [strengths], which ones are worse than the leader, one-sided at `level`.

    Args:
        scores: [strengths, documents], the higher the better. One with a document that has no finite score is worse
            than any other.
        level: chance to exclude one that is as good as the leader.
    """
    finite = np.isfinite(scores).all(axis=1)
    if not finite.any():
        return np.zeros(len(scores), dtype=bool)
    means = np.array([row.mean() if known else -math.inf for row, known in zip(scores, finite, strict=True)])
    changes = scores[finite] - scores[int(np.argmax(means))]
    worse = ~finite
    worse[finite] = (_p_of_signs(changes) if is_binary(scores[finite]) else _p_of_means(changes)) <= level
    return worse


def _p_of_signs(changes: np.ndarray) -> np.ndarray:
    """[strengths], chance of so few gains among the documents that differ, if gains and losses were equally likely."""
    from scipy.stats import binom

    gained, lost = (changes > 0).sum(axis=1), (changes < 0).sum(axis=1)
    return np.asarray(binom.cdf(gained, gained + lost, 0.5))


def _p_of_means(changes: np.ndarray) -> np.ndarray:
    """[strengths], of the one-sided paired t test; 1 where nothing differs, and of one document alone."""
    from scipy.stats import t

    n = changes.shape[1]
    if n < 2:
        return np.ones(len(changes))
    means, errors = changes.mean(axis=1), changes.std(axis=1, ddof=1) / math.sqrt(n)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = means / errors
    return np.where(means == 0, 1.0, t.cdf(ratio, n - 1))
