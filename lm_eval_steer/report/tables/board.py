"""The leaderboard: from folders to rows, and from rows to text."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from rich.console import Console

from lm_eval_steer.compare.costs import Records, count_tokens
from lm_eval_steer.compare.families import FAMILIES, Family
from lm_eval_steer.compare.groups import Group, group_runs, name_models
from lm_eval_steer.compare.joins import find_rows
from lm_eval_steer.compare.judge import judge
from lm_eval_steer.compare.per_task import pool_sweeps
from lm_eval_steer.compare.rows import Row
from lm_eval_steer.compare.runs import find_runs, refuse_nothing
from lm_eval_steer.compare.sweep_file import finite
from lm_eval_steer.compare.sweeps import by_their_sweeps, leave_out_broken, metric_of_sweep
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.report.tables.beside import every_metric, hidden_metrics
from lm_eval_steer.report.tables.blocks import Block
from lm_eval_steer.report.tables.entries import UNPAIRED, entry, short_names, word
from lm_eval_steer.report.tables.formats import to_csv, to_latex, to_markdown
from lm_eval_steer.report.tables.layouts import best_alpha, table1
from lm_eval_steer.report.tables.notes import notes
from lm_eval_steer.report.tables.parents import tell_parents
from lm_eval_steer.report.tables.sheet import sheet
from lm_eval_steer.report.tables.terminal import print_blocks
from lm_eval_steer.text import printable

VERSION = 1
FORMATS = ("rich", "markdown", "csv", "json", "latex")
DATA = ("csv", "json")
"""Formats for programs, which have all columns and no layout."""

SHOWN, TESTED = "shown", "tested"
"""How members of groups may stand in the table."""

LAYOUTS: dict[str, Callable[..., list[Block]]] = {"flat": every_metric, "table1": table1, "best_alpha": best_alpha}
SORTS = ("child", "parent", "task", "n", "baseline", "best", "best_alpha", "vote", "change", "holm_p", "mde", "verdict")
_TEXTS = ("child", "parent", "task", "verdict")
_SMALL_FIRST = ("best_alpha", "holm_p", "mde")


@dataclass
class Leaderboard:
    """Rows with their statistics.

    Attributes:
        folders: that were read.
        rows: as filtered and sorted; statistics are of all rows that were read.
        families: of tests, of all rows that were read.
        names: model -> what tables call it.
        notes: what a reader must know.
        records: that were read so far.
        metrics_asked: whether the tables of other metrics are shown, however many they are.
    """

    folders: list[Path]
    rows: list[Row]
    families: list[Family]
    names: dict[str, str]
    notes: list[str]
    records: Records
    metrics_asked: bool = False

    @property
    def groups(self) -> list[Group]:
        """Of the rows, in their order."""
        return list(dict.fromkeys(row.group for row in self.rows))

    def entries(self) -> list[dict[str, Any]]:
        """The rows as plain data."""
        return [entry(row, self.names) for row in self.rows]

    def blocks(self, layout: str = "flat") -> list[Block]:
        """The rows in a layout."""
        asked = [self.metrics_asked] if layout == "flat" else []
        found = LAYOUTS[layout](self.rows, self.names, *asked)
        if layout != "flat" and not any(block.rows for block in found):
            raise SteeringError(
                f"--layout {layout} shows strengths that a sweep chose on validation rows, and there is no sweep in "
                f"{', '.join(map(str, self.folders))}: use --layout flat, or run lm-eval-steer sweep"
            )
        return found


def read_leaderboard(
    folders: list[Path],
    child: str | None = None,
    parent: str | None = None,
    task: str | None = None,
    sort: str = "",
    metric: str | None = None,
    metrics_asked: bool = False,
    members: str | None = None,
    family: str = FAMILIES[0],
    named: list[Path] | None = None,
) -> Leaderboard:
    """Read results, judge them, then choose and sort rows.

    Args:
        folders: what lm_eval and sweep wrote.
        child: only children whose name contains it, or matches it with * and ?.
        parent: likewise.
        task: likewise.
        sort: one of `SORTS`, within groups; texts and p upwards, the rest downwards.
        members: of groups, whether they have rows, too: `shown` without verdict, or `tested`.
        family: how far a family of tests goes, of `FAMILIES`.
        named: what commands are told in place of the folders, as that of a study; None for the folders.
        metric: that runs are judged by, with a filter or without; by default that of their sweep, or the task's first.
        metrics_asked: show a table of each other metric, however many they are.

    Raises:
        SteeringError: where nothing can be read, for filters that leave nothing, and for an unknown column. What else
            cannot be read is told of in the notes.
    """
    if sort and sort not in SORTS:
        raise SteeringError(f"--sort {sort} is no column: use one of {', '.join(SORTS)}")
    runs, left_out = find_runs(folders, metric_of_sweep if metric is None else lambda *_: metric)
    runs, broken = leave_out_broken(runs)
    left_out += broken
    runs = by_their_sweeps(runs) if metric is None else runs
    runs = pool_sweeps(runs)
    left_out += [f"{run.path}: the score of {run.task} is NaN, no number" for run in runs if math.isnan(run.score)]
    runs = [run for run in runs if not math.isnan(run.score)]
    if not runs:
        refuse_nothing(left_out)
    runs = name_models(runs if members else [run for run in runs if run.group is None])
    rows = find_rows(group_runs(runs))
    families = judge(rows, members == TESTED, family)
    records = Records()
    for row in rows:
        count_tokens(row, records)
    names = short_names(list(dict.fromkeys(run.child for run in runs)))
    names |= short_names(list(dict.fromkeys(row.parent for row in rows)))
    for option, wanted, value in (
        ("child", child, lambda row: names[row.child]),
        ("parent", parent, lambda row: names[row.parent]),
        ("task", task, lambda row: row.group.task),
    ):
        if wanted is not None:
            kept = [row for row in rows if _matches(wanted, value(row))]
            if not kept:
                there = ", ".join(sorted({value(row) for row in rows}))
                raise SteeringError(f"--{option} {wanted} leaves no row: there are {there}")
            rows = kept
    if sort:
        order = list(dict.fromkeys(row.group for row in rows))
        rows = sorted(rows, key=lambda row: (order.index(row.group), *_sort_key(row, sort, names)))
    told = [f"Left out: {sentence}" for sentence in dict.fromkeys((*left_out, *records.left_out))]
    told += [*tell_parents(rows, names), *notes(rows, families, runs, names)]
    told += [] if metrics_asked else hidden_metrics(rows)
    return Leaderboard(
        named or folders, rows, families, names, [printable(one) for one in told], records, metrics_asked
    )


def check_form(form: str, layout: str) -> None:
    """Check, before the work, that there is such a table.

    Raises:
        SteeringError: for an unknown format or layout, and for two that do not go together.
    """
    if form not in FORMATS:
        html = "; for HTML, lm-eval-steer report writes a page with this table" if form == "html" else ""
        raise SteeringError(f"--format {form} is none: use one of {', '.join(FORMATS)}{html}")
    if layout not in LAYOUTS:
        raise SteeringError(f"--layout {layout} is none: use one of {', '.join(LAYOUTS)}")
    if form in DATA and layout != "flat":
        raise SteeringError(
            f"--layout {layout} is a table for people, and --format {form} holds its numbers (baseline, best, "
            "best_alpha) beside all others: leave --layout out, or use --format rich, markdown or latex"
        )


def render(board: Leaderboard, form: str = "rich", layout: str = "flat", console: Console | None = None) -> str:
    """The leaderboard as text; `rich` is printed to `console` and gives an empty text.

    Raises:
        SteeringError: as `check_form`, and for a layout that takes a sweep where there is none.
    """
    check_form(form, layout)
    if form == "json":
        text = json.dumps(finite(_document(board)), indent=1, ensure_ascii=False, allow_nan=False)
        return "".join(c if c == "\n" or c.isprintable() else json.dumps(c)[1:-1] for c in text) + "\n"
    if form == "csv":
        return to_csv(*sheet(board.entries()))
    blocks = board.blocks(layout)
    if form == "rich":
        print_blocks(console or Console(), blocks, board.notes)
        return ""
    return {"markdown": to_markdown, "latex": to_latex}[form](blocks, board.notes)


def next_command(board: Leaderboard, form: str = "rich") -> tuple[str, str]:
    """What to try next, and why."""
    folders = " ".join(shlex.quote(str(folder)) for folder in board.folders)
    task = board.rows[0].group.task
    if any(word(row, arm) == UNPAIRED for row in board.rows for arm in row.changes):
        return "Pair the runs by document:", f"lm_eval ... --tasks {task} --output_path DIR --log_samples"
    if not any(row.is_sweep for row in board.rows):
        run = board.rows[0].any_run
        what = f"pretrained={shlex.quote(run.child)},vectors=VECTOR"
        return (
            "Choose the strength on validation rows, with controls:",
            f"lm-eval-steer sweep --model_args {what} --tasks {task} --alpha paper --controls all --output_path DIR",
        )
    if form == "rich":
        return "Look at every document, and at the figures:", f"lm-eval-steer report {folders} --out report.html"
    return "Look at it here:", f"lm-eval-steer leaderboard {folders}"


def _document(board: Leaderboard) -> dict[str, Any]:
    groups = [
        {"name": one.name, "task": one.task, "differs": one.differs, "conditions": one.runs[0].conditions}
        for one in board.groups
    ]
    families = [
        {"child": board.names.get(one.child), "task": one.task or None, "tests": one.tests} for one in board.families
    ]
    document: dict[str, Any] = {"version": VERSION, "layout": "flat", "groups": groups, "families": families}
    return document | {"notes": board.notes, "rows": board.entries()}


def _matches(wanted: str, value: str) -> bool:
    pattern, name = wanted.lower(), value.lower()
    return fnmatchcase(name, pattern) if any(char in pattern for char in "*?[") else pattern in name


def _sort_key(row: Row, sort: str, names: dict[str, str]) -> tuple[bool, Any]:
    found = entry(row, names)
    main = found["changes"].get(row.main.name, {}) if row.main else {}
    value = found[sort] if sort in found else main.get(sort)
    if value is None:
        return True, 0
    return False, value if sort in _TEXTS or sort in _SMALL_FIRST else -value
