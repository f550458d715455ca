"""The leaderboard as the page shows it: what all rows of a table share stands above it."""

from __future__ import annotations

from dataclasses import replace

from lm_eval_steer.report.tables.blocks import Block


def make_table(block: Block) -> Block:
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
