"""A row as plain data: what JSON and CSV hold (docs/LEADERBOARD.md)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any

from lm_eval_steer.compare.arms import Arm
from lm_eval_steer.compare.own import OfOwn
from lm_eval_steer.compare.pairs import interval
from lm_eval_steer.compare.rows import BEST, VOTE, Rival, Row
from lm_eval_steer.compare.run import Run
from lm_eval_steer.compare.stats import RandomComparison, Verdict
from lm_eval_steer.vectors.transferred import TOGETHER

UNPAIRED = "not paired: run both with --log_samples"
MEMBER = "member, not tested"
NO_NUMBERS = "not paired: the metric is no number per document"
NO_BASELINE = "no baseline here: run the same command with alpha=0"


def short_names(names: list[str]) -> dict[str, str]:
    """Model, or parents whose vectors became one -> names without folders, unless that would be two models' name."""
    last = {model: Path(model).name or model for name in names for model in name.split(TOGETHER)}
    short = {model: end if list(last.values()).count(end) == 1 else model for model, end in last.items()}
    return {name: TOGETHER.join(short[model] for model in name.split(TOGETHER)) for name in names}


def entry(row: Row, names: Mapping[str, str]) -> dict[str, Any]:
    """The row's JSON."""
    vote, best = row.runs.get(VOTE), row.runs.get(BEST)
    return {
        "child": names[row.child],
        "parent": names[row.parent],
        "task": row.group.task,
        "n": row.any_run.n,
        "baseline": row.baseline.score if row.baseline else None,
        "best": best.score if best else None,
        "best_alpha": row.best_alpha,
        "vote": vote.score if vote else None,
        "vote_size": len(vote.alphas) if vote else None,
        "unit": row.unit,
        "vector": row.vector,
        "group": row.group.name,
        "member_of": row.of_group,
        "metric": row.any_run.metric,
        "higher_is_better": row.any_run.higher_is_better,
        "sweep": row.is_sweep,
        "scores": {arm.name: _score(run) for arm, run in row.all_runs.items()},
        "changes": {arm.name: _change(row, arm) for arm in row.changes},
        "random": {arm.name: found for arm in row.of_vector if (found := _random(row, arm))},
        "map_shuffled": {arm.name: found for arm in row.of_vector if (found := _shuffled(row, arm))},
        "rivals": {
            arm.name: {name: _rival(row, arm, one) for name, one in found.items()} for arm, found in row.rivals.items()
        },
        "metrics": {metric: _metric(row, metric) for metric in row.metrics},
        "shares": {arm.name: _shares(found) for arm, found in row.shares.items()}
        | {f"{kind} {arm.name}": _shares(found) for (arm, kind), found in row.mean_shares.items()},
        "tokens": {arm.name: count for arm, count in row.tokens.items()},
        "prompt_tokens": {arm.name: count for arm, count in row.prompt_tokens.items()},
        "lengths": {arm.name: one.to_json() for arm, one in row.lengths.items() if one},
        "cost_nll": {arm.name: one.to_json() for arm, one in row.text_costs.items()},
        "given": {arm.name: part.given for arm, part in row.parts.items() if part.given is not None},
        "seconds": _seconds(row),
        "results": {arm.name: str(run.path) for arm, run in row.all_runs.items()},
    }


def bounds(row: Row, found: Verdict | RandomComparison) -> tuple[float, float]:
    """Ends of an interval, in the unit and the direction of the metric."""
    return (found.low, found.high) if row.any_run.higher_is_better else (-found.high, -found.low)


def percent(row: Row, change: float | None) -> float | None:
    """A change as per cent of the baseline; None where one of them is unknown, or the baseline is 0."""
    return (
        100 * change / abs(row.baseline.score) if change is not None and row.baseline and row.baseline.score else None
    )


def word(row: Row, arm: Arm) -> str:
    """The verdict in words, or why there is none."""
    if row.baseline is None:
        return NO_BASELINE
    change = row.changes[arm]
    if not change.judged:
        return MEMBER
    if change.verdict:
        return change.verdict.word
    return NO_NUMBERS if row.runs[arm].has_samples_file and row.baseline.has_samples_file else UNPAIRED


def _seconds(row: Row) -> dict[str, float]:
    """Spent on a sweep's vector by split, or on a run."""
    if row.any_part:
        return row.any_part.seconds
    return {arm.name: run.seconds for arm, run in row.all_runs.items() if run.seconds is not None}


def _score(run: Run) -> dict[str, Any]:
    low, high = interval(run) or (None, None)
    alpha: Any = list(run.alphas) if len(run.alphas) > 1 else run.alphas[0]
    return {"score": run.score, "low": low, "high": high, "alpha": alpha}


def _change(row: Row, arm: Arm) -> dict[str, Any]:
    change = row.changes[arm]
    found = change.verdict
    low, high = bounds(row, found) if found else (None, None)
    return {
        "change": change.change,
        "percent": percent(row, change.change),
        "low": low,
        "high": high,
        "mcnemar_p": found.mcnemar_p if found and change.judged else None,
        "holm_p": found.holm_p if found and change.judged else None,
        "mde": found.mde if found and change.judged else None,
        "verdict": word(row, arm),
        "gained": change.gained,
        "lost": change.lost,
        "texts_changed": change.texts_changed,
        "in_family": change.in_family,
        "by_document": change.repeats,
    }


def _metric(row: Row, metric: str) -> dict[str, Any]:
    """A metric beside the first: arm -> score, and change with what is known by document."""
    found = {arm.name: told[metric] for arm, told in row.beside.items() if metric in told}
    higher = next(run.others[metric].higher_is_better for run in row.all_runs.values() if metric in run.others)
    scores = {name: {"score": one.score, **_ends(one.interval)} for name, one in found.items()}
    changes = {
        name: {
            "change": one.change,
            **_ends((one.paired.low, one.paired.high) if one.paired else None),
            "p": one.paired.p if one.paired else None,
        }
        for name, one in found.items()
        if one.change is not None
    }
    return {"higher_is_better": higher, "scores": scores, "changes": changes}


def _ends(interval: tuple[float | None, float | None] | None) -> dict[str, float | None]:
    low, high = interval or (None, None)
    return {"low": low, "high": high}


def _shares(shares: Mapping[str, OfOwn]) -> dict[str, Any]:
    """Metric -> share of own's effect."""
    return {metric: asdict(one) | {"note": one.note or None} for metric, one in shares.items()}


def _several(runs: Mapping[Arm, Run]) -> dict[str, Any]:
    """Of the scores of several seeds."""
    scores = [run.score for run in runs.values()]
    return {"mean": fmean(scores), "least": min(scores), "most": max(scores), "seeds": len(scores)}


def _random(row: Row, arm: Arm) -> dict[str, Any] | None:
    runs = row.randoms(arm)
    if not runs:
        return None
    found = row.random.get(arm)
    if found is None:
        return _several(runs) | {"verdict": None}
    low, high = bounds(row, found)
    return _several(runs) | {
        "difference": found.difference if row.any_run.higher_is_better else -found.difference,
        "low": low,
        "high": high,
        "level": 0.9,
        "p": found.p,
        "mde": found.mde,
        "spread": found.spread,
        "verdict": found.word,
    }


def _shuffled(row: Row, arm: Arm) -> dict[str, Any] | None:
    """The vector against its map-shuffled controls: each of them, and the one that is hardest to tell from it."""
    runs = row.shuffled_maps(arm)
    if not runs:
        return None
    found = row.shuffled.get(arm)
    if found is None:
        return _several(runs) | {"verdict": None}
    against = {control.name: _difference(row, one) for control, one in found.against.items()}
    nearest = found.nearest.name
    return _several(runs) | {"nearest": nearest, **against[nearest], "verdict": found.word, "against": against}


def _rival(row: Row, arm: Arm, one: Rival) -> dict[str, Any]:
    """An arm against what competes with it, and the tokens of both."""
    return _difference(row, one.verdict) | {
        "verdict": one.word,
        "gained": one.gained,
        "lost": one.lost,
        "score": row.runs[arm].score,
        "rival_score": one.row.runs[one.arm].score,
        "tokens": row.tokens.get(arm),
        "prompt_tokens": row.prompt_tokens.get(arm),
        "rival_tokens": one.row.tokens.get(one.arm),
        "rival_prompt_tokens": one.row.prompt_tokens.get(one.arm),
    }


def _difference(row: Row, found: Verdict) -> dict[str, Any]:
    low, high = bounds(row, found)
    change = found.change if row.any_run.higher_is_better else -found.change
    return {
        "difference": change,
        "low": low,
        "high": high,
        "p": found.mcnemar_p,
        "holm_p": found.holm_p,
        "mde": found.mde,
    }
