"""Locks between processes, the same on every system; the system ends them with the process that holds them."""

from __future__ import annotations

import contextlib
import logging
import os
import platform
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from lm_eval_steer.errors import SteeringError

logger = logging.getLogger(f"lm_eval.{__name__}")  # lm_eval shows what the children of its own logger say

_HOLDER = re.compile(r"\s*process (?P<process>\d{1,20}) on (?P<host>\S{1,255})\s*", re.ASCII)


def take(path: str | Path, what: str, advice: str) -> Callable[[], None]:
    """Hold the lock `path`, a file that is made for it, until the returned function is called, which removes it.

    Its folder is made where it is missing. Where the file system has no locks, that is told in a warning, and nothing
    is held.

    Args:
        path: the lock's own file; what it guards is another.
        what: is guarded, as the sentence begins: `the record runs/record`.
        advice: what to do while another holds it, as the sentence ends.

    Raises:
        SteeringError: where another holds it, another object of this process included; says which process on which
            host where that is known.
    """
    path = Path(path)
    holder = _read_holder(path)  # before the lock is tried: older releases of filelock empty the file on the way
    lock = FileLock(path, thread_local=False)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        raise SteeringError(f"{what} is in use by {holder}: {advice}") from None
    except (OSError, NotImplementedError) as error:
        reason = getattr(error, "strerror", None) or error
        logger.warning("%s cannot be locked (%s): see that no other run writes there", what, reason)
        return lambda: None
    with contextlib.suppress(OSError), open(path, "r+b", buffering=0) as file:
        file.seek(1)  # Windows lets nobody touch the first byte, which is what is locked there
        known = file.read().decode("ascii", "replace")
        if not known or _HOLDER.fullmatch(known):  # where the system has no locks, filelock keeps notes of its own here
            file.seek(1)
            file.write(f"process {os.getpid()} on {_host()}\n".encode())
            file.truncate()

    def release() -> None:
        with contextlib.suppress(OSError):  # Windows refuses, and filelock does it there
            path.unlink()  # before the lock is let go: whoever has the file open finds it gone, and does not hold it
        lock.release()

    return release


@contextmanager
def held(path: str | Path, what: str, advice: str) -> Iterator[None]:
    """Hold the lock `path` for as long as the context lasts. Arguments and errors are those of `take`."""
    release = take(path, what, advice)
    try:
        yield
    finally:
        release()


def _read_holder(path: Path) -> str:
    """Who wrote to a lock's file last, in words; it is the holder where there is one."""
    text = ""
    with contextlib.suppress(OSError):
        if path.is_file():  # a named pipe would be waited for
            with open(path, "rb") as file:
                file.seek(1)
                text = file.read(400).decode("ascii", "replace")
    found = _HOLDER.fullmatch(text)
    if not found:
        return "another run"
    if found["host"] == _host() and int(found["process"]) == os.getpid():
        return f"another run of this process ({os.getpid()})"
    return f"another run (process {found['process']} on {found['host']})"


def _host() -> str:
    return platform.node().strip() or "unknown"
