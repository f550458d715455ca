"""Metrics that a task reports beside its first: carried along, paired by document, in no family of tests."""

from __future__ import annotations

from dataclasses import dataclass, replace

from lm_eval_steer.compare.pairs import interval, pair_runs
from lm_eval_steer.compare.run import Run
from lm_eval_steer.compare.stats import MeanChange, bootstrap_change, mean_change, pair_p


@dataclass(frozen=True)
class Beside:
    """What a run reached by a metric beside the first, in the unit and the direction of the metric.

    Attributes:
        score: as the harness computed it.
        interval: of the score, at 95 %, as `interval` has it.
        proportion: whether it is a share, and every document's, too, where it is their mean.
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
    found = Beside(one.score, interval(one), one.is_share)
    if baseline is None or baseline is run or metric not in baseline.others:
        return found
    before = baseline.by(metric)
    return replace(found, change=one.score - before.score, paired=change_between(before, one))


def change_between(baseline: Run, run: Run) -> MeanChange | None:
    """The change of a run's score, whichever way that points; None where the two cannot be paired."""
    paired = pair_runs(baseline, run)
    if paired is None:
        return None
    pair = paired.pair(higher_is_better=True)
    if pair.together:
        return MeanChange(*bootstrap_change(pair.together), pair_p(pair))
    return mean_change(pair.before, pair.after, pair.clusters)
