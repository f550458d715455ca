"""What the result files of a sweep's arms say: scores, votes, doses, and each arm against the baseline and own."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lm_eval_steer.compare.arms import BASELINE, OWN
from lm_eval_steer.compare.beside import Beside, measure
from lm_eval_steer.compare.doses import sum_up_doses
from lm_eval_steer.compare.judge import compare_runs
from lm_eval_steer.compare.own import shares_of_own
from lm_eval_steer.compare.pairs import interval
from lm_eval_steer.compare.run import Run
from lm_eval_steer.compare.runs import read_runs
from lm_eval_steer.compare.stats import pair_p
from lm_eval_steer.compare.sweep_file import arm_of
from lm_eval_steer.errors import SteeringError


def describe(
    folder: Path, arms: Mapping[str, Mapping[str, Any]], name: str, metric: str | None = None
) -> dict[str, Any]:
    """What the result file of an arm holds, and how it compares with the baseline's: that part of its entry.

    Args:
        folder: of the sweep.
        arms: the entries of the arms so far, which name their result files; that of the baseline is `baseline`.
        name: of the arm.
        metric: by which arms are judged; None for the task's first.
    """
    run, no_score = _read(folder / arms[name]["result"], metric)
    baseline, unscored = _read(folder / arms["baseline"]["result"], metric)
    return describe_run(run, no_score, baseline, unscored, name == "baseline")


def describe_run(
    run: Run | None, no_score: str | None, baseline: Run | None, unscored: str | None, is_baseline: bool
) -> dict[str, Any]:
    """That part of an entry.

    Args:
        run: of the arm; None where its file holds none.
        no_score: why it has no score; None where it has one.
        baseline: that of the same documents.
        unscored: why it has no score.
        is_baseline: whether the two are one.
    """
    scored = None if no_score else run
    steering = run.steering if run else {}
    votes = steering.get("votes")
    around = interval(scored) if scored else None
    return {
        "metric": run.metric if run else None,
        "score": scored.score if scored else None,
        "no_score": no_score,
        "n": run.n if run else 0,
        "interval": None if around is None else list(around),
        "skipped": votes["skipped"] if votes else 0,
        "votes": votes,
        "against_baseline": None if is_baseline else _against(scored, None if unscored else baseline),
        "metrics": {
            metric: _beside(found)
            for metric, found in (measure(run, None if is_baseline else baseline) if run else {}).items()
        },
        "doses": {alpha: sum_up_doses(blocks) for alpha, blocks in (steering.get("doses") or {}).items()},
    }


def compare_with_own(folder: Path, arms: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """What every arm's entry says of its share of own's effect, by metric; empty without a vector of that name.

    Args:
        folder: of the sweep.
        arms: the entries of all arms, which name their result files.
    """
    named = {arm_of(entry): name for name, entry in arms.items()}
    if not any(arm.vector == OWN and not arm.control for arm in named):
        return {}
    read = {arm: _read(folder / arms[name]["result"]) for arm, name in named.items()}
    runs = {arm: run for arm, (run, no_score) in read.items() if run and no_score is None}
    own = {arm.role: run for arm, run in runs.items() if arm.vector == OWN and not arm.control}
    shares = shares_of_own(runs.get(BASELINE), runs, own)
    return {
        named[arm]: {
            metric: {
                "share": one.share,
                "interval": None if one.share is None else [one.low, one.high],
                "note": one.note or None,
            }
            for metric, one in of_arm.items()
        }
        for arm, of_arm in shares.items()
    }


def _beside(found: Beside) -> dict[str, Any]:
    paired = found.paired
    against = {
        "change": found.change,
        "interval": [paired.low, paired.high] if paired and paired.low is not None else None,
        "p": paired.p if paired else None,
    }
    return {
        "score": found.score,
        "interval": None if found.interval is None else list(found.interval),
        "proportion": found.proportion,
        "against_baseline": None if found.change is None else against,
    }


def _read(path: Path, metric: str | None = None) -> tuple[Run | None, str | None]:
    """The run of a result file, None where it holds none; and why it has no score, None where it has one."""
    try:
        run = next(run for run in read_runs([path], lambda *_: metric) if run.group is None)
    except SteeringError as error:
        return None, str(error)
    return run, None if math.isfinite(run.score) else f"{run.metric.split(',')[0]} is {run.score}"


def _against(run: Run | None, baseline: Run | None) -> dict[str, Any]:
    """Change of the score and of the responses, and p; documents gained and lost, where each is right or wrong.

    All of it is None where one of the two has no score, and all but the change where they cannot be paired.
    """
    found: dict[str, Any] = dict.fromkeys(("change", "texts_changed", "gained", "lost", "p"))
    if run is None or baseline is None:
        return found
    change, pair = compare_runs(baseline, run)
    found |= {key: getattr(change, key) for key in ("change", "texts_changed", "gained", "lost")}
    if pair:
        found["p"] = pair_p(pair)
    return found
