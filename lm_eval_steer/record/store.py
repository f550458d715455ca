"""The record that a run writes, and from which it goes on."""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path
from types import TracebackType
from typing import Any

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.files import refuse_unwritable
from lm_eval_steer.record.files import list_files, path_of, scan
from lm_eval_steer.record.line import BROKEN, VERSION, Line, decode, digest, encode, to_json

logger = logging.getLogger(f"lm_eval.{__name__}")  # lm_eval shows what the children of its own logger say


class Record:
    """The record in `folder`, open for one rank: finds the lines of all ranks, appends its own.

    Files are made at the first append (or `claim`). `get` knows the lines that were there when the record was opened,
    and those appended since by this object.

    Args:
        folder: made where it is missing.
        rank: of this process among those of the run; two processes never append to one file.

    Raises:
        SteeringError: for a folder that cannot be written, and for a record that cannot be read.
    """

    def __init__(self, folder: str | Path, rank: int = 0) -> None:
        self.folder = Path(folder)
        self.rank = rank
        if self.folder.exists() and not self.folder.is_dir():
            raise SteeringError(f"the record {self.folder} is a file: name a folder")
        refuse_unwritable(path_of(self.folder, "probe", rank))
        self.folder.mkdir(parents=True, exist_ok=True)
        self._contents: dict[str, dict[str, Any]] = {}
        self._places: dict[str, tuple[Path, int, int]] = {}  # fingerprint -> file, offset, length: texts stay on disk
        self._headers: dict[Path, set[str]] = {}
        self._ends: dict[Path, int] = {}  # behind the last line feed that this object knows of
        self._handles: dict[Path, int] = {}
        for path in list_files(self.folder):
            headers = self._headers.setdefault(path, set())
            for offset, length, entry in scan(path):
                self._ends[path] = offset + length
                if isinstance(entry, Line):
                    self._places.setdefault(entry.fingerprint, (path, offset, length))
                else:
                    headers.add(entry.settings)
                    self._contents[entry.settings] = entry.content

    def __enter__(self) -> Record:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __contains__(self, fingerprint: object) -> bool:
        return fingerprint in self._places

    def get(self, fingerprint: str) -> Line | None:
        """The line with this fingerprint, of any rank; None where there is none.

        Raises:
            SteeringError: where somebody changed the file after it was opened.
        """
        if fingerprint not in self._places:
            return None
        path, offset, length = self._places[fingerprint]
        try:
            with path.open("rb") as file:
                file.seek(offset)
                line = decode(file.read(length))
        except (OSError, *BROKEN):
            line = None
        if not isinstance(line, Line) or line.fingerprint != fingerprint:
            raise SteeringError(f"{path} was changed while this run uses it: restore it, or start the run again")
        return line

    def declare(self, content: dict[str, Any]) -> str:
        """Make a run's settings known, which lines can then name; they are written where a file first needs them.

        Returns:
            their digest, for `Line.settings`.
        """
        settings = digest(content)
        self._contents[settings] = content
        return settings

    def claim(self, task: str) -> None:
        """Open the task's file for appending. `append` does it too, but only after the first response was waited for.

        Raises:
            SteeringError: where another run holds the file or wrote to it in the meantime, or it cannot be opened.
        """
        self._open(path_of(self.folder, task, self.rank))

    def append(self, line: Line) -> None:
        """Write a line behind the others of its task. It outlives this process at once, and the machine after `flush`.

        Raises:
            ValueError: for a fingerprint that is in the record already, and for settings that were not declared.
            SteeringError: as `claim`, and where the line cannot be written whole (the file is then as before).
        """
        if line.fingerprint in self._places:
            raise ValueError(
                f"a line with the fingerprint {line.fingerprint} is in the record already: ask `get` first"
            )
        if line.settings not in self._contents:
            raise ValueError(f"the settings {line.settings} of a line are unknown: `declare` their content first")
        path = path_of(self.folder, line.task, self.rank)
        handle = self._open(path)
        headers = self._headers.setdefault(path, set())
        if line.settings not in headers:
            header = {"version": VERSION, "kind": "settings", "settings": line.settings}
            self._write(path, handle, encode({**header, "content": self._contents[line.settings]}))
            headers.add(line.settings)
        raw = encode(to_json(line))
        self._places[line.fingerprint] = (path, self._write(path, handle, raw), len(raw))

    def flush(self) -> None:
        """Wait until all appended lines are on the disk.

        Raises:
            SteeringError: where they cannot be.
        """
        for path, handle in self._handles.items():
            try:
                os.fsync(handle)
            except OSError as error:
                raise _unwritten(path, str(error.strerror)) from None

    def close(self) -> None:
        """Flush, and let other runs append."""
        try:
            self.flush()
        finally:
            while self._handles:
                os.close(self._handles.popitem()[1])

    def _open(self, path: Path) -> int:
        """The handle of a file of this rank, locked, with its half line cut off."""
        if path in self._handles:
            return self._handles[path]
        try:
            handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
        except OSError as error:
            raise _unwritten(path, str(error.strerror)) from None
        try:
            _lock(path, handle)
            end = self._ends.get(path, 0)
            size = os.fstat(handle).st_size
            half = os.pread(handle, size - end, end) if size > end else b""
            if size < end or b"\n" in half:
                raise SteeringError(
                    f"{path} has other lines than when this run opened it, another run wrote to it: start this run "
                    "again, it goes on from them"
                )
            os.ftruncate(handle, end)
            _sync_folder(self.folder)
        except BaseException:
            os.close(handle)
            raise
        self._handles[path] = handle
        return handle

    def _write(self, path: Path, handle: int, raw: bytes) -> int:
        """Append `raw` with one call, all of it or nothing, and return where it begins."""
        start = os.fstat(handle).st_size
        try:
            written = os.write(handle, raw)
            reason = f"only {written} of {len(raw)} bytes found room"
        except OSError as error:
            written, reason = 0, str(error.strerror)
        if written != len(raw):
            with contextlib.suppress(OSError):  # where even that fails, the next run cuts the half line off
                os.ftruncate(handle, start)
            raise _unwritten(path, reason)
        self._ends[path] = start + len(raw)
        return start


def _lock(path: Path, handle: int) -> None:
    """Hold the file until the handle is closed, by this process or its death.

    flock, not lockf: a lockf is lost as soon as the process closes any other handle of the file, as `get` does.
    """
    import fcntl  # not at the top: Windows has none, and can still read records

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise SteeringError(f"{path} is in use by another run: wait for its end, or name another record") from None
    except OSError as error:  # some network file systems have no locks
        logger.warning("%s cannot be locked (%s): see that no other run writes to this record", path, error.strerror)


def _sync_folder(folder: Path) -> None:
    """Put the name of a new file on the disk; where a file system cannot, it needs not."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _unwritten(path: Path, reason: str) -> SteeringError:
    return SteeringError(f"{path} cannot be written ({reason}): make room or name another record, and start again")
