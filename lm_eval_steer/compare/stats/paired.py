"""Paired tests: is the change between two arms on the same documents more than chance?"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from lm_eval_steer.compare.stats.changes import read_changes
from lm_eval_steer.errors import SteeringError

LARGEST_EXACT = 100_000
"""Sum of the documents' absolute changes up to which the exact distribution is computed."""

SIGN_FLIPS = 9_999
"""Random sign patterns where it is not; up to 13 documents the patterns are few enough to be enumerated."""


def mcnemar(before: Sequence[bool], after: Sequence[bool]) -> tuple[int, int, float]:
    """Exact McNemar test on paired outcomes.

    Returns:
        gained: wrong before, right after.
        lost: right before, wrong after.
        p: two-sided; 1 when nothing changed.
    """
    from scipy.stats import binomtest

    gained = sum(not b and a for b, a in zip(before, after, strict=True))
    lost = sum(b and not a for b, a in zip(before, after, strict=True))
    return gained, lost, float(binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0


def paired_test(
    before: Sequence[float],
    after: Sequence[float],
    clusters: Sequence[Hashable] | None = None,
    seed: int = 0,
) -> float:
    """Two-sided p of "the arms differ": exact McNemar for binary scores of documents that occur once, else sign flips.

    The sign-flip test asks how often the documents' changes, each with a random sign, sum to as much as was observed.
    With one binary item per document that is McNemar's test. It is exact where a document's change is symmetric about
    0 under the hypothesis, and approximate where it only has mean 0: simulated with skewed changes at a nominal 5 %,
    documents of 4 binary items gave at most 4.5 % (from 5 documents on), exponential changes 8 % with 20 documents and
    6 % with 100. Without skew, 10 documents of 4 items gave 4.6 %, where a cluster bootstrap gave 10.7 % and McNemar on
    the items 19 %. With 5 documents no change is significant (p >= 1/16), while the bootstrap gave 16 %.

    Args:
        before: [items].
        after: [items], in the same order.
        clusters: [items], which document an item belongs to; None where each occurs once.
        seed: of the sign patterns, used where neither the exact distribution nor an enumeration is in reach:
            fractional scores of more than 13 documents. The smallest p is 2e-4 then.

    Raises:
        SteeringError: for scores that `read_changes` refuses.
    """
    changes = read_changes(before, after, clusters)
    if changes.binary and changes.single:
        return mcnemar([score == 1 for score in before], [score == 1 for score in after])[2]
    sums = changes.sums[changes.sums != 0]
    if len(sums) < 2:
        return 1.0  # of one change, both signs are as far from 0
    if (sums == np.round(sums)).all() and np.abs(sums).sum() <= LARGEST_EXACT:
        return _sign_flip_exact(sums.astype(np.int64))
    return _sign_flip_sampled(sums, seed)


def holm(ps: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values of one family, in the order given.

    The step-down rule (Holm 1979): the k-th smallest of n counts n + 1 - k times, at least as much as those before
    it and at most 1. The function of statsmodels, to which the tests hold this one, collects garbage on every call: a
    third of a second in a process that holds torch.

    Raises:
        SteeringError: for a p that is not between 0 and 1.
    """
    for p in ps:
        if not 0 <= p <= 1:
            raise SteeringError(f"p={p} is no probability: Holm's adjustment needs every p of the family")
    order = np.argsort(ps, kind="stable")
    adjusted = np.empty(len(ps))
    adjusted[order] = np.maximum.accumulate(np.asarray(ps)[order] * np.arange(len(ps), 0, -1))
    return [float(p) for p in np.minimum(adjusted, 1)]


def _sign_flip_exact(sums: np.ndarray) -> float:
    """For whole numbers: the distribution of the sum of +-|sums|, one convolution per distinct |sum|."""
    from scipy.stats import binom

    chances = np.ones(1)  # [s] chance that the positive part of the sum is s
    for size, count in zip(*np.unique(np.abs(sums), return_counts=True), strict=True):
        wider = np.zeros(len(chances) + size * count)
        for positive, chance in enumerate(binom.pmf(np.arange(count + 1), count, 0.5)):
            wider[positive * size : positive * size + len(chances)] += chance * chances
        chances = wider
    total = len(chances) - 1
    extreme = np.abs(2 * np.arange(total + 1) - total) >= abs(int(sums.sum()))
    return min(1.0, float(chances[extreme].sum()))


def _sign_flip_sampled(sums: np.ndarray, seed: int) -> float:
    from scipy.stats import permutation_test

    result = permutation_test(
        (sums,),
        lambda values, axis: np.sum(values, axis=axis),
        permutation_type="samples",  # of a single sample: signs are flipped
        n_resamples=SIGN_FLIPS,
        batch=max(1, 2_000_000 // len(sums)),
        vectorized=True,
        rng=np.random.default_rng(seed),
    )
    return float(result.pvalue)
