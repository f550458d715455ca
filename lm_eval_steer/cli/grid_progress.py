"""What `grid run` and `grid plan --pilot` show while stages are at work."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lm_eval_steer.text import printable

if TYPE_CHECKING:
    from lm_eval_steer.grid.folder import Grid
    from lm_eval_steer.grid.run import Tell
    from lm_eval_steer.grid.stage import Stage


def interrupt(*_: object) -> None:
    """A scheduler's request to end is Ctrl-C to this program: its processes are ended, too."""
    raise KeyboardInterrupt


@contextmanager
def shown(grid: Grid, stages: Sequence[Stage]) -> Iterator[Tell]:
    """What tells of stages: a table that is kept up to date in a terminal, elsewhere a line each."""
    from rich.console import Console
    from rich.live import Live

    from lm_eval_steer.grid.overview import make_progress

    if not sys.stderr.isatty():
        yield tell_line
        return
    with Live(console=Console(stderr=True), refresh_per_second=0.5, get_renderable=lambda: make_progress(grid, stages)):
        yield lambda *_: None


def tell_line(stage: Stage, word: str, why: str) -> None:
    """A line on stderr."""
    clock = time.strftime("%H:%M:%S")
    print(printable(f"{clock}  {word:<9} {stage.name}{why and f': {why}'}"), file=sys.stderr, flush=True)
