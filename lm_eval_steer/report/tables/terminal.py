"""Blocks for a terminal of 120 columns, or none."""

from __future__ import annotations

from collections.abc import Iterator

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lm_eval_steer.report.tables.blocks import Block

_LEFT_OUT = {"p"}
"""Columns of the flat layout for which a terminal has no room; JSON, CSV and the other formats have them."""

_WIDEST = {"arm": 25, "verdict": 21}
"""Columns are as wide in all tables of a block, up to here."""

_TIME = 4
"""Place of the key that says how long a row took, which is no part of its title."""


def print_blocks(console: Console, blocks: list[Block], notes: list[str]) -> None:
    """Print tables, then the notes."""
    for block in blocks:
        console.print(Text(block.title, style="bold"))
        for sentence in block.heading:
            console.print(Text(sentence, style="yellow"))
        for table in _flat(block) if block.keys > _TIME else [_plain(block)]:
            console.print(table)
        console.print()
    for note in notes:
        console.print(Text(f"- {note}"))


def _flat(block: Block) -> Iterator[Table]:
    """A table per child, parent and vector, whose keys are its title; columns of the same width in all of them."""
    shown = [place for place, name in enumerate(block.columns) if place >= block.keys and name not in _LEFT_OUT]
    widths = {place: max(len(cells[place]) for cells in block.rows) for place in shown}
    parts: dict[tuple[str, ...], list[tuple[str, list[str]]]] = {}
    for cells in block.rows:
        child, parent, vector, n, time = cells[: block.keys]
        parts.setdefault((child, parent, vector, n), []).append((time, cells))
    for (child, parent, vector, n), lines in parts.items():
        source = "" if parent == "-" else f" <- {parent}" + ("" if vector == "-" else f" ({vector})")
        times = list(dict.fromkeys(time for time, _ in lines if time != "-"))
        spent = f", {times[0]} spent" if len(times) == 1 else ""
        table = _table()
        table.title = Text(f"{child}{source}, n = {n}{spent}")
        for place in shown:
            name = block.columns[place]
            justify = "left" if name in block.left else "right"
            width = min(widths[place], _WIDEST.get(name, 20))
            table.add_column(name, justify=justify, min_width=width)  # type: ignore[arg-type]
        seen = set()
        for _, cells in lines:
            line = tuple(cells[place] for place in shown)
            if line not in seen or cells[block.keys] != "baseline":
                table.add_row(*(Text(cell) for cell in line))
            seen.add(line)
        yield table


def _plain(block: Block) -> Table:
    table = _table()
    for name in block.columns:
        table.add_column(Text(name), justify="left" if name in block.left else "right")
    for cells in block.rows:
        table.add_row(*map(Text, cells))
    return table


def _table() -> Table:
    return Table(box=box.SIMPLE_HEAD, padding=0, pad_edge=False, show_edge=False, title_justify="left", title_style="")
