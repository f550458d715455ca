"""How much a page may hold: the responses of many sweeps are on pages of their own, made when they are wanted."""

from __future__ import annotations

import shlex
from pathlib import Path

from lm_eval_steer.report.tables import Leaderboard

MOST_READ = 64 << 20
"""Bytes of records up to which the responses of several sweeps are on one page; it takes a sixth of that at most."""


def pages_apart(board: Leaderboard) -> dict[Path, str]:
    """Sweeps whose responses are left to pages of their own, and the command for each; empty where one page holds all.

    A single sweep is always whole.
    """
    folders = sorted({row.folder for row in board.rows if row.folder})
    if len(folders) < 2 or sum(map(_size, folders)) <= MOST_READ:
        return {}
    return {
        folder: f"lm-eval-steer report {shlex.quote(str(folder))} --out samples-{number}.html"
        for number, folder in enumerate(folders, start=1)
    }


def tell_apart(commands: dict[Path, str]) -> str:
    """Why there are no samples."""
    return (
        f"The responses of these {len(commands)} sweeps are too many for one page, and so are figures of them and of "
        "every strength: a page of one sweep, or of a few, has both."
    )


def _size(folder: Path) -> int:
    """Bytes of the record of a sweep."""
    return sum(path.stat().st_size for path in (folder / "record").glob("*.jsonl"))
