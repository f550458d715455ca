"""The paper's own layouts: Table 1 (baseline and steered) and Appendix C (the best α)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from lm_eval_steer.compare.groups import Group
from lm_eval_steer.compare.rows import BEST, Row
from lm_eval_steer.compare.stats import HELPS, HURTS
from lm_eval_steer.interventions.alphas import alpha_name
from lm_eval_steer.report.tables.blocks import Block
from lm_eval_steer.report.tables.entries import short
from lm_eval_steer.report.tables.flat import show

MARKS = {HELPS: "+", HURTS: "-"}
NONE = "-"


def table1(rows: list[Row], names: Mapping[str, str]) -> list[Block]:
    """Children down, parent x task across: baseline, and steered with the strength that a sweep chose."""
    parents = _parents(rows, names)
    columns: dict[tuple[int, str], Group] = {}
    for row in rows:
        if row.best_alpha is not None:
            columns.setdefault((id(row.group), parents[id(row)]), row.group)
    heads = ["child"]
    for (_, parent), group in columns.items():
        heads += [f"{parent}: {group.name}, baseline", f"{parent}: {group.name}, steered"]
    cells = []
    for child in dict.fromkeys(row.child for row in rows if row.best_alpha is not None):
        line = [short(child, names)]
        for place, parent in columns:
            here = [r for r in rows if r.child == child and id(r.group) == place and parents[id(r)] == parent]
            line += _cells(here)
        cells.append(line)
    title = "Baseline and steered, best strength chosen on validation (+ helps, - hurts)"
    return [Block(title, heads, {"child"}, cells, 1, _apart(list(columns.values())))]


def best_alpha(rows: list[Row], names: Mapping[str, str]) -> list[Block]:
    """Per task, children down and parents across: the strength that a sweep chose."""
    parents = _parents(rows, names)
    rows = [row for row in rows if row.best_alpha is not None]
    across = list(dict.fromkeys(parents[id(row)] for row in rows))
    cells = []
    for one in {id(row.group): row.group for row in rows}.values():
        here = [row for row in rows if row.group is one]
        for child in dict.fromkeys(row.child for row in here):
            found = {parents[id(row)]: _strength(row) for row in here if row.child == child}
            cells.append([one.name, short(child, names), *(found.get(parent, NONE) for parent in across)])
    return [
        Block(
            "Best strength on validation",
            ["task", "child", *across],
            {"task", "child"},
            cells,
            2,
            _apart([row.group for row in rows]),
        )
    ]


def _strength(row: Row) -> str:
    assert row.best_alpha is not None
    return f"{'dose ' if row.unit == 'dose' else ''}{alpha_name(row.best_alpha)}"


def _cells(rows: list[Row]) -> list[str]:
    """Baseline and steered of one child in one column."""
    row = next((row for row in rows if row.best_alpha is not None), None)
    if row is None:
        return [NONE, NONE]
    before = show(row.baseline.score, row) if row.baseline else NONE
    change = row.changes.get(BEST)
    mark = MARKS.get(change.verdict.word, "") if change and change.verdict else ""
    return [before, " ".join(filter(None, [show(row.runs[BEST].score, row), mark]))]


def _parents(rows: list[Row], names: Mapping[str, str]) -> dict[int, str]:
    """Row -> its column: the parent, then as much as tells two sweeps of one child and parent apart."""
    more: list[Callable[[Row], str]] = [
        lambda row: short(row.parent, names),
        lambda row: row.vector,
        lambda row: str(row.folder or ""),
    ]
    labels = {id(row): "" for row in rows}
    for step in more:
        sweeps = [(labels[id(row)], row.child, id(row.group)) for row in rows if row.is_sweep]
        if any(labels.values()) and len(set(sweeps)) == len(sweeps):
            break
        labels = {id(row): ", ".join(filter(None, [labels[id(row)], step(row)])) for row in rows}
    return labels


def _apart(shown: list[Group]) -> list[str]:
    groups = {id(group): group for group in shown if group.differs}.values()
    return [
        f"{group.name} is not comparable with the other groups of {group.task}: "
        + ", ".join(f"{name}: {value}" for name, value in group.differs.items())
        for group in groups
    ]
