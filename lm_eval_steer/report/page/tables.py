"""The leaderboard as the page shows it: what all rows of a table share stands above it."""

from __future__ import annotations

from dataclasses import dataclass

from lm_eval_steer.compare.stats import BETTER, HELPS, HURTS, NO_EVIDENCE
from lm_eval_steer.report.page.words import MARKS
from lm_eval_steer.report.tables.blocks import Block

_KINDS = {HELPS: "good", BETTER: "good", HURTS: "bad", NO_EVIDENCE: "none"}


@dataclass(frozen=True)
class Cell:
    """A cell.

    Attributes:
        text: in it.
        mark: a sign before it; empty for none.
        kind: `good`, `bad`, `none` for a verdict, else empty.
    """

    text: str
    mark: str = ""
    kind: str = ""


@dataclass(frozen=True)
class Table:
    """A table of the page.

    Attributes:
        title: above it.
        about: sentences below the title.
        columns: name, and whether it holds words.
        rows: cells.
    """

    title: str
    about: list[str]
    columns: list[tuple[str, bool]]
    rows: list[list[Cell]]


def make_table(block: Block) -> Table:
    """A block with its verdicts marked, without the columns that say the same in every row."""
    shared = {}
    for place, name in enumerate(block.columns[: block.keys]):
        values = {row[place] for row in block.rows}
        if len(values) == 1:
            shared[name] = values.pop()
    kept = [place for place, name in enumerate(block.columns) if name not in shared]
    about = [*block.heading]
    if told := [f"{name} {value}" for name, value in shared.items() if value != "-"]:
        about.append(", ".join(told) + ".")
    return Table(
        block.title,
        about,
        [(block.columns[place], block.columns[place] in block.left) for place in kept],
        [[_cell(row[place]) for place in kept] for row in block.rows],
    )


def _cell(text: str) -> Cell:
    return Cell(text, MARKS.get(text, ""), _KINDS.get(text, ""))
