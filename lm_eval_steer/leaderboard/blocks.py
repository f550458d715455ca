"""A table without a format: what rich, Markdown, HTML, LaTeX and CSV are made from."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Block:
    """A table.

    Attributes:
        title: above it.
        columns: their names.
        left: names of the columns that hold words.
        rows: cells, as long as `columns`.
        keys: how many columns at the left name a row; where they repeat, formats for people leave them out.
        heading: sentences above the table, under its title.
    """

    title: str
    columns: list[str]
    left: set[str]
    rows: list[list[str]]
    keys: int = 1
    heading: list[str] = field(default_factory=list)

    def starts(self, place: int) -> bool:
        """Whether a row's keys are others than those of the row before."""
        return place == 0 or self.rows[place][: self.keys] != self.rows[place - 1][: self.keys]
