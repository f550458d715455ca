"""One process at a time per stage, also on file systems without locks (NFS): numbered files with a heartbeat.

The lock of a folder is its file `lock.N` with the largest N. Taking it is making the file of the next number, which
one process alone can (O_EXCL). The holder touches its file every BEAT seconds. It may be taken over when it says that
it was let go, when its process is no more (told on the same machine alone), or when it was not touched for OLD seconds.
A holder that was taken over by mistake, after a pause, finds a larger number at its next beat, and ends itself.

What is relied on: a file is made exclusively (POSIX, NFS 3 and later), a listing of a folder shows what was made in it
before, and the times of one folder's files are of one clock, that of the file system.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import re
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.files import unwritable, write_whole

BEAT = 15.0
"""Seconds between two beats."""
OLD = 150.0
"""Seconds without a beat after which a holder counts as gone: ten beats."""

_NAME = re.compile(r"lock\.(\d{1,9})", re.ASCII)


@dataclass(frozen=True)
class Holder:
    """Who holds a lock.

    Attributes:
        host: name of the machine.
        process: its number there.
        born: when the process began, seconds since 1970: numbers are used again.
        space: of process numbers, as containers of one host have their own.
        since: when the file was made, by the clock of the file system; not written in it.
        live: whether it may be at work; not written in it.
    """

    host: str = ""
    process: int = 0
    born: float = 0.0
    space: str = ""
    since: float = 0.0
    live: bool = True

    @property
    def told(self) -> str:
        """As sentences name it."""
        return f"process {self.process} on {self.host}" if self.host else "another process"


class HeldError(Exception):
    """Another process holds the lock.

    Attributes:
        holder: that is at work.
    """

    def __init__(self, holder: Holder) -> None:
        super().__init__(f"held by {holder.told}")
        self.holder = holder


def holder_of(folder: Path) -> Holder | None:
    """Who holds the lock of a folder, or held it when it ended without letting go; None where nobody does."""
    number = _highest(folder)
    while number:
        try:
            text, status = _path(folder, number).read_text(encoding="utf-8"), _path(folder, number).stat()
        except OSError:  # gone: whoever made the next one removed it
            again = _highest(folder)
            if again == number:
                return None
            number = again
            continue
        if text == "":  # made, and not written yet, or by a process that died in between
            return Holder(since=status.st_mtime, live=_age(folder, status.st_mtime) < OLD)
        try:
            found = json.loads(text)
            one = Holder(**{**found, "since": float(found.get("since") or status.st_mtime)}) if found else None
        except (ValueError, TypeError, AttributeError):
            one = Holder(since=status.st_mtime)
        if one is None:  # let go
            return None
        is_live = _age(folder, status.st_mtime) < OLD and not _has_ended(one)
        return Holder(**{**asdict(one), "live": is_live})
    return None


@contextmanager
def held(folder: Path, lost: Callable[[], object], beat: float = BEAT) -> Iterator[None]:
    """Hold the lock of a folder for as long as the context lasts.

    Args:
        folder: that is there.
        lost: is called, in a thread, where another process took the lock over in the meantime.
        beat: seconds between two beats.

    Raises:
        HeldError: where another process holds it.
        SteeringError: where its file cannot be written.
    """
    path = _take(folder)
    ended = threading.Event()

    def keep() -> None:
        while not ended.wait(beat):
            with contextlib.suppress(OSError):  # a file system that is away: others see no beat, and take over
                if _highest(folder) != _number(path):
                    lost()
                    return
                os.utime(path)

    thread = threading.Thread(target=keep, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        with contextlib.suppress(OSError, SteeringError):  # on a full disk the file stays, and its process is no more
            if _highest(folder) == _number(path):
                write_whole(path, lambda part: part.write_text("{}", encoding="utf-8"))


def _take(folder: Path) -> Path:
    before = holder_of(folder)
    if before is not None and before.live:
        raise HeldError(before)
    number = _highest(folder) + 1
    path = _path(folder, number)
    try:
        with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666), "w") as file:
            json.dump(_me(), file)
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError:
        raise HeldError(holder_of(folder) or Holder()) from None
    except OSError as error:
        with contextlib.suppress(OSError):  # an empty one would count as another process's until it is old
            path.unlink(missing_ok=True)
        raise unwritable(path, error) from None
    if _highest(folder) != number:  # another took it, let go of it, and a third took it in the meantime
        path.unlink(missing_ok=True)
        raise HeldError(holder_of(folder) or Holder())
    for old in _numbers(folder):
        if old < number:
            _path(folder, old).unlink(missing_ok=True)
    return path


def _me() -> dict[str, object]:
    me = psutil.Process()
    return {"host": _host(), "process": me.pid, "born": me.create_time(), "space": _space()}


def _has_ended(holder: Holder) -> bool:
    """Whether the process is known to be no more: that of this machine alone can be looked for."""
    if (holder.host, holder.space) != (_host(), _space()):
        return False
    try:
        process = psutil.Process(holder.process)
        return abs(process.create_time() - holder.born) > 5 or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
    except psutil.Error:
        return False


def _age(folder: Path, touched: float) -> float:
    """Seconds since a file of the folder was touched, by the clock that touched it; by this machine's where the folder
    takes no file."""
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".now-") as probe:
            return os.stat(probe.name).st_mtime - touched
    except OSError:
        return time.time() - touched


def _host() -> str:
    return platform.node().strip() or "unknown"


def _space() -> str:
    """What tells process numbers of one container from those of another."""
    with contextlib.suppress(OSError):
        return os.readlink("/proc/self/ns/pid")
    return ""


def _highest(folder: Path) -> int:
    return max(_numbers(folder), default=0)


def _numbers(folder: Path) -> list[int]:
    return [int(found[1]) for name in os.listdir(folder) if (found := _NAME.fullmatch(name))]


def _number(path: Path) -> int:
    return int(path.name.rpartition(".")[2])


def _path(folder: Path, number: int) -> Path:
    return folder / f"lock.{number}"
