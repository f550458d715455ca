"""What the result files of a sweep's arms say: scores, votes, doses, and each arm against the baseline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lm_eval_steer.results import Run, read_runs, sum_up_doses
from lm_eval_steer.stats import mcnemar, wilson_interval

BASELINE = "baseline"


def describe(folder: Path, arms: dict[str, dict[str, Any]], name: str) -> None:
    """Add to the entry of an arm what its result file holds, and how it compares with the baseline's.

    Args:
        folder: of the sweep.
        arms: the entries of the arms so far, which name their result files.
        name: of the arm.
    """
    run = _read(folder, arms[name])
    steering = run.steering
    votes = steering.get("votes")
    arms[name] |= {
        "metric": run.metric,
        "score": run.score,
        "n": run.n,
        "interval": _interval(run),
        "skipped": votes["skipped"] if votes else 0,
        "votes": votes,
        "against_baseline": None if name == BASELINE else _against(run, _read(folder, arms[BASELINE])),
        "doses": {alpha: sum_up_doses(blocks) for alpha, blocks in (steering.get("doses") or {}).items()},
    }


def _read(folder: Path, arm: dict[str, Any]) -> Run:
    (run,) = read_runs([(folder / arm["result"]).parent])
    return run


def _is_binary(run: Run) -> bool:
    return bool(run.samples) and {sample.score for sample in run.samples} <= {0.0, 1.0}


def _interval(run: Run) -> list[float] | None:
    if not _is_binary(run):
        return None
    return list(wilson_interval(sum(sample.score == 1 for sample in run.samples), len(run.samples)))


def _against(run: Run, baseline: Run) -> dict[str, Any]:
    """Change of the score and of the responses; documents gained and lost, and p, where each is right or wrong."""
    pairs = list(zip(baseline.samples, run.samples, strict=True))
    found: dict[str, Any] = {
        "change": run.score - baseline.score,
        "texts_changed": sum(old.response != new.response for old, new in pairs),
        "gained": None,
        "lost": None,
        "p": None,
    }
    if _is_binary(run) and _is_binary(baseline):
        gained, lost, p = mcnemar([old.score == 1 for old, _ in pairs], [new.score == 1 for _, new in pairs])
        found |= {"gained": gained, "lost": lost, "p": p}
    return found
