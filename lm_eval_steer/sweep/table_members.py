"""The table of a group's tasks at the end of a sweep, where it is asked for: intervals, and no tests."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.table import Table

from lm_eval_steer.compare.beside import change_between
from lm_eval_steer.compare.pairs import interval
from lm_eval_steer.compare.run import Run
from lm_eval_steer.compare.runs import read_runs
from lm_eval_steer.scale import Scale

_NONE = "-"


def make_members_table(folder: Path, name: str, task: Mapping[str, Any]) -> Table:
    """A row per task of a group, and subgroup, and arm; changes are paired by document.

    Args:
        folder: of the sweep.
        name: of the group.
        task: its part of sweep.json.
    """
    caption = "intervals are at 95 %, and nothing is tested: the group's score is"
    table = Table(title=f"tasks of {name}", caption=caption)
    for column in ("task", "arm"):
        table.add_column(column, no_wrap=True)
    for column in ("n", "score", "interval", "change", "interval of it"):
        table.add_column(column, justify="right")
    arms = {
        arm: _members(folder / found["result"], task["validation"]["metric"]) for arm, found in task["test"].items()
    }
    for member, baseline in arms["baseline"].items():
        runs = {arm: found[member] for arm, found in arms.items() if member in found}
        scale = Scale(all(0 <= run.score <= 1 for run in runs.values()), [run.score for run in runs.values()])
        for arm, run in runs.items():
            first = [member, arm, str(run.n), scale.score(run.score), scale.between(interval(run))]
            table.add_row(*first, *_change(scale, baseline, run), end_section=arm == list(runs)[-1])
    return table


def _members(path: Path, metric: str) -> dict[str, Run]:
    return {run.task: run for run in read_runs([path], lambda *_: metric) if run.group is not None}


def _change(scale: Scale, baseline: Run, run: Run) -> tuple[str, str]:
    if run is baseline:
        return _NONE, _NONE
    paired = change_between(baseline, run)
    ends = None if paired is None or paired.low is None else (paired.low, paired.high)
    return scale.change(run.score - baseline.score), scale.between(ends, "+")
