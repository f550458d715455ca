"""Blocks for a terminal of 120 columns, or none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Literal

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lm_eval_steer.report.tables.blocks import Block

_LEFT_OUT = {"p"}
"""Columns of the flat layout for which a terminal has no room; JSON, CSV and the other formats have them."""

_GIVE_WAY = ("%", "length", "tokens")
"""Those that are left out, one after the other, where a table would be wider than `_WIDTH` characters."""

_WIDTH = 120

_WIDEST = {"arm": 25, "verdict": 21}
"""Columns are as wide in all tables of a block, up to here, or up to 20 characters."""

_TIME = 4
"""Place of the key that says how long a row took, which is no part of its title; what has no such key has 4."""


def print_blocks(console: Console, blocks: list[Block], notes: list[str]) -> None:
    """Print tables, then the notes."""
    for block in blocks:
        console.print(Text(block.title, style="bold"))
        for sentence in block.heading:
            console.print(Text(sentence, style="yellow"))
        if block.keys >= _TIME:
            widths = {
                name: min(max(map(len, cells)), _WIDEST.get(name, 20))
                for name, cells in zip(block.columns, zip(*block.rows, strict=True), strict=True)
            }
            for part in _parts(block):
                table = _table(part, widths)
                table.title = Text(part.title)
                console.print(table)
        else:
            console.print(_table(block, {}))
        console.print()
    for note in notes:
        console.print(Text(f"- {note}"))


def _parts(block: Block) -> Iterator[Block]:
    """A table per child, parent and vector, whose keys are its title; a baseline of several of its rows is one line."""
    shown = [place for place, name in enumerate(block.columns) if place >= block.keys and name not in _LEFT_OUT]
    for name in _GIVE_WAY:
        if _width(block, shown) > _WIDTH:
            shown = [place for place in shown if block.columns[place] != name]
    parts: dict[tuple[str, ...], list[list[str]]] = {}
    for cells in block.rows:
        parts.setdefault(tuple(cells[:_TIME]), []).append(cells)
    for (child, parent, vector, n), lines in parts.items():
        source = "" if parent == "-" else f" <- {parent}" + ("" if vector == "-" else f" ({vector})")
        times = {cells[_TIME] for cells in lines} - {"-"} if block.keys > _TIME else set()
        spent = f", {times.pop()} spent" if len(times) == 1 else ""
        rows: list[list[str]] = []
        for cells in lines:
            line = [cells[place] for place in shown]
            if line not in rows or cells[block.keys] != "baseline":
                rows.append(line)
        title = f"{child}{source}, n = {n}{spent}"
        yield replace(block, title=title, columns=[block.columns[place] for place in shown], rows=rows)


def _width(block: Block, places: Sequence[int]) -> int:
    """Characters of a line of some columns, which stand one apart."""
    cells = [[block.columns[place], *(line[place] for line in block.rows)] for place in places]
    return sum(1 + max(map(len, column)) for column in cells) - 1


def _table(block: Block, widths: Mapping[str, int]) -> Table:
    """A block with columns of at least these widths, by their names."""
    table = Table(box=box.SIMPLE_HEAD, padding=0, pad_edge=False, show_edge=False, title_justify="left", title_style="")
    for name in block.columns:
        justify: Literal["left", "right"] = "left" if name in block.left else "right"
        table.add_column(Text(name), justify=justify, min_width=widths.get(name), overflow="fold")
    for cells in block.rows:
        table.add_row(*map(Text, cells))
    return table
