"""A table without a format: what rich, Markdown and LaTeX are made from."""

from __future__ import annotations

from dataclasses import dataclass, field

from lm_eval_steer.text import printable


@dataclass
class Block:
    """A table. All of it is shown, so nothing in it can steer a terminal: control characters are escaped.

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

    def __post_init__(self) -> None:
        self.title = printable(self.title)
        self.columns, self.heading = list(map(printable, self.columns)), list(map(printable, self.heading))
        self.left = set(map(printable, self.left))
        self.rows = [list(map(printable, cells)) for cells in self.rows]

    def starts(self, place: int) -> bool:
        """Whether a row's keys are others than those of the row before."""
        return place == 0 or self.rows[place][: self.keys] != self.rows[place - 1][: self.keys]
