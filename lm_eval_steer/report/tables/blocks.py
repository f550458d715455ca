"""A table without a format: what rich, Markdown and LaTeX are made from."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from lm_eval_steer.text import printable


@dataclass
class Block:
    """A table. All of it is shown, so nothing in it can steer a terminal: control characters are escaped.

    Attributes:
        title: above it.
        columns: their names; none where the first cell of a row names it.
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


def tell_shared_keys(block: Block) -> Block:
    """A block without the columns of its keys that say the same in every row; its heading says it instead."""
    values = list(zip(*block.rows, strict=True))
    shared = [place for place in range(block.keys) if len(set(values[place])) == 1]
    kept = [place for place in range(len(block.columns)) if place not in shared]
    told = [f"{block.columns[place]} {values[place][0]}" for place in shared if values[place][0] != "-"]
    return replace(
        block,
        columns=[block.columns[place] for place in kept],
        rows=[[row[place] for place in kept] for row in block.rows],
        keys=block.keys - len(shared),
        heading=[*block.heading, *([", ".join(told) + "."] if told else [])],
    )
