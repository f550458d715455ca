"""What the result file of a sweep's arm says: score, vote, doses, and the arm against the baseline."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeGuard

from lm_eval_steer.compare.doses import sum_up_doses
from lm_eval_steer.compare.judge import compare_runs
from lm_eval_steer.compare.pairs import interval
from lm_eval_steer.compare.runs import Run, read_runs
from lm_eval_steer.compare.stats import paired_test
from lm_eval_steer.errors import SteeringError


def describe(folder: Path, arms: Mapping[str, Mapping[str, Any]], name: str) -> dict[str, Any]:
    """What the result file of an arm holds, and how it compares with the baseline's: that part of its entry.

    Args:
        folder: of the sweep.
        arms: the entries of the arms so far, which name their result files; that of the baseline is `baseline`.
        name: of the arm.
    """
    run = _read(folder / arms[name]["result"])
    steering = {} if isinstance(run, str) else run.steering
    votes = steering.get("votes")
    around = interval(run) if _is_scored(run) else None
    return {
        "metric": None if isinstance(run, str) else run.metric,
        "score": run.score if _is_scored(run) else None,
        "no_score": _why_not(run),
        "n": 0 if isinstance(run, str) else run.n,
        "interval": None if around is None else list(around),
        "skipped": votes["skipped"] if votes else 0,
        "votes": votes,
        "against_baseline": None if name == "baseline" else _against(run, _read(folder / arms["baseline"]["result"])),
        "doses": {alpha: sum_up_doses(blocks) for alpha, blocks in (steering.get("doses") or {}).items()},
    }


def _read(path: Path) -> Run | str:
    """The run of a result file, or why there is nothing to compare in it."""
    try:
        (run,) = read_runs([path])
    except SteeringError as error:
        return str(error)
    return run


def _is_scored(run: Run | str) -> TypeGuard[Run]:
    return isinstance(run, Run) and math.isfinite(run.score)


def _why_not(run: Run | str) -> str | None:
    """Why an arm has no score; None where it has one."""
    if isinstance(run, str) or _is_scored(run):
        return run if isinstance(run, str) else None
    return f"{run.metric.split(',')[0]} is {run.score}"


def _against(run: Run | str, baseline: Run | str) -> dict[str, Any]:
    """Change of the score and of the responses; documents gained and lost, and p, where each is right or wrong.

    All of it is None where one of the two has no score.
    """
    found: dict[str, Any] = dict.fromkeys(("change", "texts_changed", "gained", "lost", "p"))
    if not _is_scored(run) or not _is_scored(baseline):
        return found
    change, pair = compare_runs(baseline, run)
    found |= {key: getattr(change, key) for key in ("change", "texts_changed", "gained", "lost")}
    if pair and change.gained is not None:
        found["p"] = paired_test(pair.before, pair.after, pair.clusters)
    return found
