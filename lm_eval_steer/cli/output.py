"""What the commands print: tables, and the command that comes next."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

from lm_eval_steer.text import printable

if TYPE_CHECKING:
    from rich.console import Console

UNATTENDED = 140
"""Columns of a table that goes to a file or a pipe."""


def make_console(columns: int = UNATTENDED) -> Console:
    """Where tables go: as wide as the terminal, or as told where there is none."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else columns)


def quote(words: Iterable[str]) -> str:
    """Words as a shell takes them."""
    return printable(" ".join(map(shlex.quote, words)))


def steered(vector: str) -> str:
    """The model arguments that steer with a vector, as a shell takes them."""
    return quote([f"pretrained=CHILD,vectors={vector},alpha=0.04"])
