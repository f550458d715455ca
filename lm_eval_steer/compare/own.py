"""Which share of the effect of the child's own vector the other arms of a sweep have, in every metric of the task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from lm_eval_steer.compare.arms import Arm
from lm_eval_steer.compare.beside import change_between
from lm_eval_steer.compare.metrics import Metric
from lm_eval_steer.compare.pairs import Paired, keyed, pair_runs
from lm_eval_steer.compare.run import Run
from lm_eval_steer.compare.samples import is_number
from lm_eval_steer.compare.stats import Share, read_together, share_of_effect, share_together

NO_EFFECT = "own's own effect may be 0"
"""Why there is no share: the interval of the whole holds 0."""


@dataclass(frozen=True)
class OfOwn:
    """The effect of an arm divided by that of the arm `own` in the same role, on the same documents.

    Attributes:
        share: 1 for the same effect; None where there is none to be a share of.
        low: lower end of its 95 % interval, a bootstrap of the paired documents; None with the share.
        high: upper end; likewise.
        note: why there is no share; empty where there is one.
    """

    share: float | None
    low: float | None
    high: float | None
    note: str = ""


def shares_of_own(baseline: Run | None, runs: Mapping[Arm, Run], own: Mapping[str, Run]) -> dict[Arm, dict[str, OfOwn]]:
    """Arm that steers -> metric, `name,filter` -> its share, where baseline, arm and own can be paired.

    Args:
        baseline: the run without steering.
        runs: of the arms.
        own: role -> the run of the arm `own` in it.
    """
    found: dict[Arm, dict[str, OfOwn]] = {arm: {} for arm, run in runs.items() if arm.steers and arm.role in own}
    for role, whole in own.items() if baseline else ():
        assert baseline
        for metric in (whole.metric, *whole.others):
            of_role = {arm: runs[arm] for arm in found if arm.role == role and metric in runs[arm].metrics}
            if metric in baseline.metrics:
                for arm, share in _shares(baseline.by(metric), whole.by(metric), of_role).items():
                    found[arm][metric] = share
    return {arm: shares for arm, shares in found.items() if shares}


def _shares(baseline: Run, own: Run, runs: Mapping[Arm, Run]) -> dict[Arm, OfOwn]:
    """Of one metric, which is the first of baseline and own."""
    whole, paired = change_between(baseline, own), pair_runs(baseline, own)
    if whole is None or paired is None:
        return {}
    found = {}
    for arm, run in runs.items():
        beside = pair_runs(baseline, run.by(own.metric))
        if beside is None:
            continue
        if whole.low is None or whole.high is None or whole.low <= 0 <= whole.high:
            found[arm] = OfOwn(None, None, None, NO_EFFECT)
        else:
            share = _share(beside, paired)
            found[arm] = OfOwn(share.share, share.low, share.high)
    return found


def _share(arm: Paired, own: Paired) -> Share:
    """Of an arm's change; both have the baseline in the same order."""
    pair, reference = arm.pair(higher_is_better=True), own.pair(higher_is_better=True).after
    if arm.aggregate is None:
        return share_of_effect(pair.before, pair.after, reference, pair.clusters)
    items = [[one.item for one in samples] for samples in (arm.before, arm.after, own.after)]
    return share_together(read_together(arm.aggregate, items, pair.clusters))


def average(runs: Sequence[Run]) -> Run | None:
    """Seeds of a control as one run, whose scores are their means by document; None where they cannot be paired.

    It has no samples by metrics that are no mean of a number per document.
    """
    first = runs[0]
    if not first.logged or any(run.prompts != first.prompts for run in runs):
        return None
    seeds = [keyed(run.logged) for run in runs]
    others = {
        metric: Metric(fmean(run.others[metric].score for run in runs), told.higher_is_better)
        for metric, told in first.others.items()
        if all(metric in run.others for run in runs)
    }
    logged = [
        replace(one, items={metric: _mean([seed[key].items.get(metric) for seed in seeds]) for metric in one.items})
        for key, one in seeds[0].items()
    ]
    return first.with_documents(fmean(run.score for run in runs), logged, others)


def _mean(items: Sequence[Any]) -> float | None:
    return fmean(items) if all(map(is_number, items)) else None
