"""The paper's own layouts: Table 1 (baseline and steered) and Appendix C (the best α)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from lm_eval_steer.compare.groups import Group
from lm_eval_steer.compare.rows import BEST, Row
from lm_eval_steer.compare.stats import HELPS, HURTS
from lm_eval_steer.interventions.alphas import alpha_name
from lm_eval_steer.report.tables.blocks import Block
from lm_eval_steer.report.tables.flat import apart, show

MARKS = {HELPS: "+", HURTS: "-"}
NONE = "-"


def table1(rows: list[Row], names: Mapping[str, str]) -> list[Block]:
    """Children down, parent x task across: baseline, and steered with the strength that a sweep chose."""
    places = _chosen(rows, names)
    columns = list(dict.fromkeys((parent, group) for _, parent, group in places))
    heads = [f"{parent}: {group.name}, {what}" for parent, group in columns for what in ("baseline", "steered")]
    cells = [
        [names[child], *(cell for column in columns for cell in _scores(places.get((child, *column))))]
        for child in dict.fromkeys(child for child, _, _ in places)
    ]
    title = "Baseline and steered, best strength chosen on validation (+ helps, - hurts)"
    groups = dict.fromkeys(group for _, group in columns)
    return [Block(title, ["child", *heads], {"child"}, cells, 1, apart(groups))]


def best_alpha(rows: list[Row], names: Mapping[str, str]) -> list[Block]:
    """Per task, children down and parents across: the strength that a sweep chose."""
    places = _chosen(rows, names)
    parents = list(dict.fromkeys(parent for _, parent, _ in places))
    cells = [
        [group.name, names[child], *(_strength(places.get((child, parent, group))) for parent in parents)]
        for group, child in dict.fromkeys((group, child) for child, _, group in places)
    ]
    title, left = "Best strength on validation", ["task", "child"]
    groups = dict.fromkeys(group for _, _, group in places)
    return [Block(title, [*left, *parents], set(left), cells, len(left), apart(groups))]


def _strength(row: Row | None) -> str:
    if row is None or row.best_alpha is None:
        return NONE
    return f"{'dose ' if row.unit == 'dose' else ''}{alpha_name(row.best_alpha)}"


def _scores(row: Row | None) -> list[str]:
    """Baseline and steered."""
    if row is None:
        return [NONE, NONE]
    before = show(row.baseline.score, row) if row.baseline else NONE
    change = row.changes.get(BEST)
    mark = MARKS.get(change.verdict.word, "") if change and change.verdict and change.judged else ""
    return [before, " ".join(filter(None, [show(row.runs[BEST].score, row), mark]))]


def _chosen(rows: list[Row], names: Mapping[str, str]) -> dict[tuple[str, str, Group], Row]:
    """The rows whose strength a sweep chose, by child, column and group.

    A column is the parent, then as much as tells two sweeps of one child and parent apart.
    """
    more: list[Callable[[Row], str]] = [
        lambda row: names[row.parent],
        lambda row: row.vector,
        lambda row: str(row.folder or ""),
    ]
    labels = {id(row): "" for row in rows}
    for step in more:
        sweeps = [(labels[id(row)], row.child, row.group) for row in rows if row.is_sweep]
        if any(labels.values()) and len(set(sweeps)) == len(sweeps):
            break
        labels = {id(row): ", ".join(filter(None, [labels[id(row)], step(row)])) for row in rows}
    found: dict[tuple[str, str, Group], Row] = {}
    for row in rows:
        if row.best_alpha is not None:
            found.setdefault((row.child, labels[id(row)], row.group), row)
    return found
