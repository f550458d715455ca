"""What a sweep of one site at a time calls its contenders, and which rows of a leaderboard are such sites."""

from __future__ import annotations

import re

from lm_eval_steer.compare.rows import Row

ALL = "all"
"""The vector at all its blocks, among the contenders of such a sweep."""

_NAME = re.compile(r"block(?P<block>\d+)", re.ASCII)


def site_name(block: int, last: int) -> str:
    """What the vector at one block is called, with zeros that keep names in order: `block07`.

    Args:
        block: number of the block, from 0.
        last: the largest number of a block of the sweep.
    """
    return f"block{block:0{len(str(last))}d}"


def block_of(name: str | None) -> int | None:
    """The block of a name that `site_name` gave; None for other names."""
    found = _NAME.fullmatch(name or "")
    return int(found["block"]) if found else None


def site_of(row: Row) -> int | None:
    """The block at which alone the vector of a row steers, in a sweep of one site at a time; None for other rows."""
    block = block_of(row.named)
    steered = [(run.steering.get("transfer") or {}).get("steered_blocks") for run in row.runs.values()]
    return block if block is not None and all(found in (None, [block]) for found in steered) else None
