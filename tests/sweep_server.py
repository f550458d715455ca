"""A program that runs commands of `lm-eval-steer`, each in a fork of itself, which it kills where it is told.

It reads one JSON object per line, {"argv": [...], "event": n or null, "after": [writes, seconds] or null}, runs
`lm-eval-steer` with these arguments in a fork of itself, lets it die at its n-th write (in the middle of a line of the
record, or before a file gets its name) or by SIGKILL so many seconds after so many writes, and answers [exit code,
number of writes].
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from sweeps import hurry, manager


def _die_at(event: int | None) -> None:
    """Count the writes of this process, and end it at one of them."""
    from lm_eval_steer.axis.record import Record

    write, replace = Record._write, os.replace
    events = 0

    def step() -> bool:
        nonlocal events
        events += 1
        os.pwrite(_COUNTER, events.to_bytes(4, "big"), 0)
        return events == event

    def torn_write(self: Any, path: Path, handle: int, raw: bytes) -> int:
        if step():
            os.write(handle, raw[: len(raw) // 2])
            os._exit(137)
        return write(self, path, handle, raw)

    def no_replace(*names: Any) -> None:
        if step():
            os._exit(137)
        replace(*names)

    Record._write, os.replace = torn_write, no_replace  # type: ignore[method-assign, assignment]


_COUNTER = -1


def _writes() -> int:
    """Of the command under way."""
    return int.from_bytes(os.pread(_COUNTER, 4, 0), "big")


def _serve() -> None:
    global _COUNTER
    import tempfile

    import pytest

    import lm_eval_steer.models.hf
    import lm_eval_steer.sweep.run  # noqa: F401
    from lm_eval_steer import plugin
    from lm_eval_steer.cli.main import main

    plugin.install(force=True)
    hurry(pytest.MonkeyPatch())
    manager()
    _COUNTER, name = tempfile.mkstemp()
    os.unlink(name)
    for line in sys.stdin:
        command = json.loads(line)
        os.pwrite(_COUNTER, bytes(4), 0)
        child = os.fork()
        if not child:
            os.dup2(2, 1)
            _die_at(command["event"])
            try:
                os._exit(main(command["argv"]))
            except BaseException:
                import traceback

                traceback.print_exc()
                os._exit(1)
        if command["after"] is not None:
            writes, seconds = command["after"]
            while _writes() < writes and os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                time.sleep(0.001)
            time.sleep(seconds)
            os.kill(child, signal.SIGKILL)  # of one that has ended, which is not waited for yet, nothing comes
        _, status = os.waitpid(child, 0)
        print(json.dumps([os.waitstatus_to_exitcode(status), _writes()]), flush=True)


if __name__ == "__main__":
    _serve()
