"""The table at the end of a sweep."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from lm_eval_steer.interventions.alphas import alpha_name
from lm_eval_steer.sweep.board import show


def make_table(name: str, task: Mapping[str, Any], unit: str) -> Table:
    """One task of sweep.json: a row per arm, each against the baseline on the same documents.

    Args:
        name: of the task.
        task: its part of sweep.json.
        unit: what the strengths are, `alpha` or `dose`.
    """
    test, validation = task["test"], task["validation"]
    metric = next((arm["metric"] for arm in test.values() if arm["metric"]), "no metric").split(",")[0]
    caption = f"{metric}; {unit} chosen on {validation['task']} ({validation['n']} documents)"
    table = Table(title=f"{name}, {next(iter(test.values()))['n']} documents", caption=caption)
    table.add_column("arm", no_wrap=True)
    for column in (unit, "score", "95 % interval", "change", "gained / lost", "McNemar p", "tokens"):
        table.add_column(column, justify="right", no_wrap=column == unit)
    for arm, found in test.items():
        table.add_row(arm, *_cells(found))
    for control, reason in task["refused"].items():
        table.add_row(control, "-", reason.split(",")[-1].strip(), *["-"] * 5)
    return table


def make_notes(name: str, task: Mapping[str, Any]) -> list[str]:
    """What a table cannot say: a sentence for every arm and every choice that has no number."""
    notes = [
        f"{arm} of {name} has no score ({found['no_score']}) and is compared with nothing"
        for arm, found in task["test"].items()
        if found.get("no_score")
    ]
    for control, scores in task["validation"]["scores"].items():
        missing = [alpha for alpha, score in scores.items() if score is None]
        if missing:
            chosen = alpha_name(task["validation"]["best"][control])
            notes.append(
                f"on {task['validation']['task']}, {control} has no score at {', '.join(missing)}: "
                + (f"{chosen} stands for the best" if chosen in missing else f"{chosen} is the best of the others")
            )
    return notes


def _cells(found: Mapping[str, Any]) -> list[str]:
    alpha, interval, against = found["alpha"], found["interval"], found["against_baseline"]
    strength = f"{len(alpha)} values" if isinstance(alpha, list) else alpha_name(alpha)
    cells = [strength, show(found["score"]), f"{interval[0]:.1%} - {interval[1]:.1%}" if interval else "-"]
    if against is None or against["change"] is None:
        cells += ["-", "-", "-"]
    else:
        unit = 100 if 0 <= found["score"] <= 1 else 1
        cells.append(f"{unit * against['change']:+.1f}" + (" pt" if unit == 100 else ""))
        has_pairs = against["p"] is not None
        cells.append(f"+{against['gained']} / -{against['lost']}" if has_pairs else "-")
        cells.append(f"{against['p']:.2g}" if has_pairs else "-")
    return [*cells, "-" if found["tokens"] is None else f"{found['tokens']:,}"]
