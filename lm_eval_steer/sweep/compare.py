"""What the result files of a sweep's arms say: scores, votes, doses, and each arm against the baseline."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.results import Run, read_runs, sum_up_doses
from lm_eval_steer.stats import mcnemar, wilson_interval
from lm_eval_steer.sweep.arms import read_whole

BASELINE = "baseline"


def describe(folder: Path, arms: Mapping[str, Mapping[str, Any]], name: str) -> dict[str, Any]:
    """What the result file of an arm holds, and how it compares with the baseline's: that part of its entry.

    Args:
        folder: of the sweep.
        arms: the entries of the arms so far, which name their result files.
        name: of the arm.

    Raises:
        SteeringError: for an arm that is not whole.
    """
    path = folder / arms[name]["result"]
    content = read_whole(path.parent)
    if content is None:
        raise SteeringError(f"{path} is not a whole result file: start the sweep again, it writes it anew")
    run = _read(path, content)
    steering = content["config"].get("steering") or {}
    votes = steering.get("votes")
    metric, value = _first_metric(content)
    return {
        "metric": metric,
        "score": run.score if run else None,
        "no_score": None if run else f"{(metric or 'no metric').split(',')[0]} is {value}",
        "n": content["n-samples"][next(iter(content["configs"]))]["effective"],
        "interval": _interval(run) if run else None,
        "skipped": votes["skipped"] if votes else 0,
        "votes": votes,
        "against_baseline": None if name == BASELINE else _against(run, _baseline(folder, arms)),
        "doses": {alpha: sum_up_doses(blocks) for alpha, blocks in (steering.get("doses") or {}).items()},
    }


def _baseline(folder: Path, arms: Mapping[str, Mapping[str, Any]]) -> Run | None:
    path = folder / arms[BASELINE]["result"]
    content = read_whole(path.parent)
    return None if content is None else _read(path, content)


def _first_metric(content: Mapping[str, Any]) -> tuple[str | None, Any]:
    """The first metric that is a number, NaN included, else the first of all, with its value."""
    found = content["results"][next(iter(content["configs"]))]
    metrics = {key: value for key, value in found.items() if "," in key and "_stderr" not in key}
    numbers = {key: value for key, value in metrics.items() if isinstance(value, int | float)}
    return next(iter((numbers or metrics).items()), (None, "a number"))


def _read(path: Path, content: Mapping[str, Any]) -> Run | None:
    """The run of a whole result file; None where its metric is no finite number."""
    metric, value = _first_metric(content)
    if not isinstance(value, int | float) or not math.isfinite(value):
        return None
    try:
        (run,) = read_runs([path])
    except SteeringError:  # the first metric is another, and no number
        return None
    return run if run.metric == metric else None


def _is_binary(run: Run) -> bool:
    return bool(run.samples) and {sample.score for sample in run.samples} <= {0.0, 1.0}


def _interval(run: Run) -> list[float] | None:
    if not _is_binary(run):
        return None
    return list(wilson_interval(sum(sample.score == 1 for sample in run.samples), len(run.samples)))


def _against(run: Run | None, baseline: Run | None) -> dict[str, Any]:
    """Change of the score and of the responses; documents gained and lost, and p, where each is right or wrong.

    All of it is None where one of the two has no score.
    """
    found: dict[str, Any] = dict.fromkeys(("change", "texts_changed", "gained", "lost", "p"))
    if run is None or baseline is None:
        return found
    found["change"] = run.score - baseline.score
    if len(run.samples) != len(baseline.samples):  # a document without a number leaves a run without samples
        return found
    pairs = list(zip(baseline.samples, run.samples, strict=True))
    found["texts_changed"] = sum(old.response != new.response for old, new in pairs)
    if _is_binary(run) and _is_binary(baseline):
        gained, lost, p = mcnemar([old.score == 1 for old, _ in pairs], [new.score == 1 for _, new in pairs])
        found |= {"gained": gained, "lost": lost, "p": p}
    return found
