"""The paper's own layouts: Table 1 (baseline, best strength, vote) and Appendix C (the best α)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from lm_eval_steer.compare.arms import BASELINE, Arm
from lm_eval_steer.compare.groups import Group
from lm_eval_steer.compare.rows import BEST, VOTE, Row
from lm_eval_steer.compare.stats import HELPS, HURTS
from lm_eval_steer.interventions.alphas import alpha_name
from lm_eval_steer.report.tables.blocks import Block
from lm_eval_steer.report.tables.flat import apart, points, show

MARKS = {HELPS: "+", HURTS: "-"}
NONE = "-"


def table1(rows: list[Row], names: Mapping[str, str]) -> list[Block]:
    """Parent x child down, tasks across: baseline, best strength of the validation rows, vote, and their changes."""
    places = _chosen(rows, names)
    groups = list(dict.fromkeys(group for _, _, group in places))
    arms = [arm for arm in (BASELINE, BEST, VOTE) if any(arm in row.all_runs for row in places.values())]
    pairs = dict.fromkeys((parent, child) for child, parent, _ in places)
    order = list(dict.fromkeys(parent for parent, _ in pairs))
    cells = [
        [parent, names[child], *(_score(places.get((child, parent, group)), arm) for group in groups for arm in arms)]
        for parent, child in sorted(pairs, key=lambda pair: order.index(pair[0]))
    ]
    title = "Baseline, best strength chosen on validation, and vote over all (the paper's ITS); in brackets the change"
    left, heads = ["parent", "child"], [f"{group.name}, {arm.name}" for group in groups for arm in arms]
    return [Block(f"{title} (+ helps, - hurts)", [*left, *heads], set(left), cells, len(left), apart(groups))]


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


def _score(row: Row | None, arm: Arm) -> str:
    """Score of an arm, with its change and its verdict."""
    if row is None or arm not in row.all_runs:
        return NONE
    score, change = show(row.all_runs[arm].score, row), row.changes.get(arm)
    if change is None:
        return score
    mark = MARKS.get(change.verdict.word, "") if change.verdict and change.judged else ""
    return " ".join(filter(None, [score, f"({points(change.change, row)})", mark]))


def _chosen(rows: list[Row], names: Mapping[str, str]) -> dict[tuple[str, str, Group], Row]:
    """The rows whose strength a sweep chose, by child, column and group.

    A column is the parent, then as much as tells two sweeps of one child and parent apart: what `--arms` calls the
    vector, which of a study is one name for the vectors of all its tasks, then the vector itself.
    """
    more: list[Callable[[Row], str]] = [
        lambda row: names[row.parent],
        lambda row: row.named or "",
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
