"""Metrics that a task reports beside its first: carried along, paired by document, in no family of tests."""

from __future__ import annotations

from dataclasses import dataclass, replace

from lm_eval_steer.compare.pairs import interval, pair_runs
from lm_eval_steer.compare.runs import Run
from lm_eval_steer.compare.stats import MeanChange, mean_change, mean_interval


@dataclass(frozen=True)
class Beside:
    """What a run reached by a metric beside the first, in the unit and the direction of the metric.

    Attributes:
        score: as the harness computed it.
        interval: of the score, at 95 %: Wilson's for right and wrong, else that of a mean; None where it is no mean of
            a number per document, and without samples.
        proportion: whether the score, or every document's where that is known, lies between 0 and 1.
        change: score - the baseline's; None for the baseline and without one.
        paired: the same by document, with interval and p; None where the two cannot be paired.
    """

    score: float
    interval: tuple[float, float] | None
    proportion: bool
    change: float | None = None
    paired: MeanChange | None = None


def measure(run: Run, baseline: Run | None) -> dict[str, Beside]:
    """A run by each metric beside the first, `name,filter` -> what it reached."""
    return {metric: _measure(run, baseline, metric) for metric in run.others}


def _measure(run: Run, baseline: Run | None, metric: str) -> Beside:
    one = run.by(metric)
    values = [sample.score for sample in one.samples] or [one.score]
    found = Beside(one.score, interval(one) or _of_mean(one), all(0 <= value <= 1 for value in values))
    if baseline is None or baseline is run or metric not in baseline.others:
        return found
    before = baseline.by(metric)
    return replace(found, change=one.score - before.score, paired=change_between(before, one))


def change_between(baseline: Run, run: Run) -> MeanChange | None:
    """The change of a run's first metric, whichever way that points; None where the two cannot be paired."""
    paired = pair_runs(baseline, run)
    if paired is None:
        return None
    pair = paired.pair(higher_is_better=True)
    return mean_change(pair.before, pair.after, pair.clusters)


def _of_mean(run: Run) -> tuple[float, float] | None:
    if not run.samples:
        return None
    return mean_interval([one.score for one in run.samples], [one.key[0] for one in run.samples])
