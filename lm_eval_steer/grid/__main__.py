"""`python -m lm_eval_steer.grid DIR FOLDER`: the process of one stage; `grid run` starts it."""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from pathlib import Path

from lm_eval_steer import plugin
from lm_eval_steer.errors import FULL, SteeringError, is_out_of_memory
from lm_eval_steer.grid.folder import Grid
from lm_eval_steer.grid.lock import HeldError, held

DONE, FAILED, HELD = 0, 1, 75
"""Exit codes: the last one says that another process is at it."""


def main(root: str, folder: str) -> int:
    """Do a stage in a process that is told to end by SIGTERM."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that the lock is let go of
    return attempt(Grid(Path(root)), folder)


def attempt(grid: Grid, folder: str) -> int:
    """Do a stage, unless it is done or another process is at it, and note how it ended.

    Returns:
        `DONE`, `FAILED` or `HELD`.
    """
    try:
        with held(grid.place(folder), _lost):
            return DONE if grid.state(folder).word == "done" else _do(grid, folder)
    except HeldError as other:
        print(other.holder.told, "is at it")
        return HELD


def _do(grid: Grid, folder: str) -> int:
    began = time.time()
    try:
        grid.begin(folder)
        plugin.install(force=True)
        from lm_eval_steer.grid.work import Place, work

        stage = grid.stage(folder)
        place = Place(grid.root / "stages", folder, grid.states, grid.earlier(stage))
        loaded = work(stage.kind, stage.arguments, place)
        loading = None if loaded is None else round(loaded - began, 2)
        grid.end(folder, "done", seconds=round(time.time() - began, 2), loading=loading)
        return DONE
    except Exception as error:
        why = tell(error)
        print(why, file=sys.stderr)
        grid.end(folder, "failed", why=why)
        return FAILED


def tell(error: Exception) -> str:
    """What went wrong, in a sentence; of an error of this program its traceback goes to the log."""
    if isinstance(error, SteeringError):
        return str(error)
    if is_out_of_memory(error):
        return f"the memory does not suffice ({_first_line(error)}): say a smaller batch_size or dtype in the study"
    if isinstance(error, OSError) and error.errno in FULL:
        return f"{error.filename or 'the output'} cannot be written ({error.strerror}): make room and run again"
    traceback.print_exception(error)
    return f"{type(error).__name__}: {_first_line(error)} (log.txt has the traceback)"


def _first_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _lost() -> None:
    print(
        "another process took this stage over, as it saw no sign of life: it goes on there", file=sys.stderr, flush=True
    )
    os._exit(HELD)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
