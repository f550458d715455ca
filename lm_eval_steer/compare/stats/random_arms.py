"""The vector against random vectors that were tuned like it: is it the concept, or would any direction do?"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np

from lm_eval_steer.compare.stats.changes import index_documents, is_binary, mean_variance, read_scores, sum_changes
from lm_eval_steer.compare.stats.intervals import check_level
from lm_eval_steer.compare.stats.power import detectable_mean
from lm_eval_steer.errors import SteeringError

BETTER = "better than random"
NOT_DISTINGUISHABLE = "not distinguishable from random"


@dataclass(frozen=True)
class RandomComparison:
    """The vector's score against those of random directions.

    Attributes:
        difference: the vector's score minus the mean of the random vectors', in the unit of the scores.
        low: lower end of the interval of how much better than one more random vector's the vector's true score is;
            above 0 exactly when p < alpha.
        high: its upper end. Coverage 1 - 2 alpha, so 90 % by default.
        p: one-sided, that the vector is no better than one more random direction.
        n: items.
        seeds: random vectors.
        spread: standard deviation of the true scores between random vectors; 0 where documents explain what was seen.
        mde: smallest difference found with the power asked for; None where no binary score can show it.
        word: `BETTER` or `NOT_DISTINGUISHABLE`.
    """

    difference: float
    low: float
    high: float
    p: float
    n: int
    seeds: int
    spread: float
    mde: float | None
    word: str


def compare_with_random(
    vector_scores: Sequence[float],
    random_scores: Sequence[Sequence[float]],
    clusters: Sequence[Hashable] | None = None,
    alpha: float = 0.05,
    power: float = 0.8,
) -> RandomComparison:
    """Is a tuned vector better than a random direction that was tuned the same way, on these documents and others?

        t = difference / sqrt(spread² (1 + 1/seeds) + var), seeds - 1 degrees of freedom

    spread² is the variance between the seeds' scores less what drawing documents puts there (at least 0); var is the
    sampling variance of the paired difference between the vector and the seeds' mean, two pseudo-documents included
    (`Changes.with_pseudo_documents`). The degrees of freedom are the fewest that could apply.

    False positives at a nominal 5 %, simulated for the hypothesis "the vector is one more random direction" with 2, 5
    and 10 seeds, 50 and 200 documents, a true spread of 0, 2 and 7 points: 0 to 4.8 %; with α chosen on validation out
    of 10: 3.6 %. Where the vector changes more answers than random ones at equal quality: 1.0 to 1.6 %, while a test
    from the seeds' spread alone has up to 23 %. A hierarchical bootstrap has up to 28 % and is not used. What this
    leans on, and no test of 5 seeds can check, is that seeds' true scores are about normal: if they are exponential (a
    few random directions far better than the rest) with a spread of 7 points, 9 %. Without it, only the vector's rank
    among the seeds is left, whose p is 1 / (seeds + 1) at best: 5 % takes 19 seeds.

    Args:
        vector_scores: [items].
        random_scores: [seeds][items], two seeds or more, in the same order of items.
        clusters: [items], which document an item belongs to; None where each occurs once.
        alpha: level of the judgement, one-sided. Not adjusted for several vectors.
        power: of the smallest detectable difference; simulated with 5 seeds it was 77 to 81 % there for 80 %.

    Raises:
        SteeringError: for fewer than two seeds, different lengths, scores that are no finite numbers.
    """
    from scipy.stats import t

    check_level(alpha, "alpha")
    vector = read_scores(vector_scores, "vector's")
    seeds = len(random_scores)
    if seeds < 2:
        raise SteeringError(f"there are {seeds} random controls, but their spread takes 2 or more: use random:5")
    arms = [read_scores(scores, "random control's") for scores in random_scores]
    for number, scores in enumerate(arms):
        if len(scores) != len(vector):
            raise SteeringError(
                f"the vector has {len(vector)} scores and random control {number} has {len(scores)}: "
                "compare them on the same items"
            )
    rows = np.stack(arms)  # [seeds, items]
    documents = index_documents(clusters, len(vector))
    centre = rows.mean(axis=0)
    binary = is_binary(vector, *arms)

    spread_squared = _spread_squared(rows - centre, documents)
    padded = sum_changes(centre, vector, documents).with_pseudo_documents(reach=1.0 if binary else None)
    error = sqrt(spread_squared * (1 + 1 / seeds) + mean_variance(padded.sums, padded.sizes))
    difference = float((vector - centre).mean())
    p = float(t.sf(difference / error, seeds - 1)) if error > 0 else float(difference <= 0)
    reach = float(t.isf(alpha, seeds - 1)) * error
    mde = detectable_mean(error, seeds - 1, alpha, power, sides=1)
    if binary and mde is not None and mde > 1:
        mde = None
    return RandomComparison(
        difference=difference,
        low=difference - reach,
        high=difference + reach,
        p=p,
        n=len(vector),
        seeds=seeds,
        spread=sqrt(spread_squared),
        mde=mde,
        word=BETTER if p < alpha else NOT_DISTINGUISHABLE,
    )


def _spread_squared(deviations: np.ndarray, documents: np.ndarray) -> float:
    """Variance of the true scores between seeds; deviations [seeds, items] are from the seeds' mean on each item."""
    seeds = len(deviations)
    sizes = np.bincount(documents).astype(np.float64)
    observed = float(deviations.mean(axis=1).var(ddof=1))
    if len(sizes) < 2:
        return observed  # one document: nothing tells spread and sampling apart, so all of it is spread
    sampling = [mean_variance(np.bincount(documents, weights=row), sizes) for row in deviations]
    return max(0.0, observed - sum(sampling) / (seeds - 1))
