"""A table of runs against their baseline: the same child on the same documents and prompts, without steering."""

from __future__ import annotations

from pathlib import Path

from rich.table import Table

from lm_eval_steer.alphas import alpha_name, alpha_order
from lm_eval_steer.results import Run
from lm_eval_steer.stats import mcnemar, wilson_interval


def make_table(runs: list[Run]) -> Table:
    """One row per run. A run is paired with the unsteered run of the same child, task, documents and prompts."""
    table = Table(title="Steered against unsteered, paired by document")
    for column, justify in [
        ("child", "left"),
        ("parent", "left"),
        ("task", "left"),
        ("prompt", "left"),
        ("alpha", "right"),
        ("n", "right"),
        ("score", "right"),
        ("95 % interval", "right"),
        ("texts changed", "right"),
        ("gained / lost", "right"),
        ("McNemar p", "right"),
    ]:
        table.add_column(column, justify=justify)  # type: ignore[arg-type]
    for run in sorted(runs, key=_order):
        parent = (run.steering.get("transfer") or {}).get("parent", "-")
        prompt = "chat" if run.chat else "text"
        cells = [Path(run.child).name, Path(parent).name, run.task, prompt, _strength(run), str(run.n), _score(run)]
        table.add_row(*cells, _interval(run), *_against(run, _baseline(run, runs)))
    return table


def _order(run: Run) -> tuple[object, ...]:
    control = run.steering.get("control") or ""
    return run.child, run.task, run.chat, not run.is_baseline, control, len(run.alphas), *map(alpha_order, run.alphas)


def _strength(run: Run) -> str:
    """`0.04`, `vote of 18`, `random:1 0.5`."""
    strength = alpha_name(run.alphas[0]) if len(run.alphas) == 1 else f"vote of {len(run.alphas)}"
    return f"{run.steering['control']} {strength}" if run.steering.get("control") else strength


def _baseline(run: Run, runs: list[Run]) -> Run | None:
    if run.is_baseline or not run.samples:
        return None
    documents = {sample.key for sample in run.samples}
    for other in runs:
        same = all(getattr(other, key) == getattr(run, key) for key in ("child", "task", "metric", "conditions"))
        if other.is_baseline and same and {sample.key for sample in other.samples} == documents:
            return other
    return None


def _score(run: Run) -> str:
    return f"{run.score:.1%}" if 0 <= run.score <= 1 else f"{run.score:.4g}"


def _is_binary(run: Run) -> bool:
    return {sample.score for sample in run.samples} <= {0.0, 1.0}


def _interval(run: Run) -> str:
    if not run.samples or not _is_binary(run):
        return "-"
    low, high = wilson_interval(sum(sample.score == 1 for sample in run.samples), len(run.samples))
    return f"{low:.1%} - {high:.1%}"


def _against(run: Run, baseline: Run | None) -> tuple[str, str, str]:
    if baseline is None:
        return ("-", "-", "-")
    before = {sample.key: sample for sample in baseline.samples}
    pairs = [(before[sample.key], sample) for sample in run.samples]
    changed = sum(old.response != new.response for old, new in pairs)
    if not (_is_binary(run) and _is_binary(baseline)):
        return (f"{changed} of {len(pairs)}", "-", "-")
    gained, lost, p = mcnemar([old.score == 1 for old, _ in pairs], [new.score == 1 for _, new in pairs])
    return (f"{changed} of {len(pairs)}", f"+{gained} / -{lost}", f"{p:.2g}")
