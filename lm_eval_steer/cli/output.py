"""What the commands print: tables, and the command that comes next."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.files import refuse_unwritable
from lm_eval_steer.text import printable, shortened

if TYPE_CHECKING:
    from rich.console import Console

UNATTENDED = 140
"""Columns of a table that goes to a file or a pipe."""

_STRENGTHS = {"alpha", "dose", "alpha_per_layer"}
"""Arguments with which a model is steered; the last by itself is an alpha of 1."""


def make_console(columns: int = UNATTENDED) -> Console:
    """Where tables go: as wide as the terminal, or as told where there is none."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else columns)


def check_vector_file(path: str) -> None:
    """Refuse a name under which no vector can be written: now, not after an hour on a large model.

    Raises:
        SteeringError: for a suffix that no format is written as, and for a place that cannot be written.
    """
    from lm_eval_steer.vectors.formats import suffixes, writer

    if writer(Path(path).suffix) is None:
        there = " or ".join(f"a {suffix}" for suffix in filter(writer, suffixes()))
        raise SteeringError(f"--out {shortened(path)}: name {there} file")
    refuse_unwritable(path)


def quote(words: Iterable[str]) -> str:
    """Words as a shell takes them."""
    return printable(" ".join(map(shlex.quote, words)))


def steered(vector: str, child: str = "CHILD", steering: Mapping[str, Any] | None = None) -> str:
    """The model arguments that steer a child with a vector, as a shell takes them.

    Args:
        vector: file or name.
        child: model.
        steering: how the vector acts; where it has no strength, a small alpha.
    """
    steering = steering or {}
    strength = {} if _STRENGTHS & steering.keys() else {"alpha": 0.04}
    named = {"pretrained": child, "vectors": vector, **steering, **strength}
    return quote([",".join(f"{name}={value}" for name, value in named.items())])
