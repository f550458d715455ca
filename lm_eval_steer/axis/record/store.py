"""The record that a run writes, and from which it goes on."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from lm_eval_steer.axis.record.files import list_files, path_of, scan
from lm_eval_steer.axis.record.line import BROKEN, VERSION, Line, decode, digest, encode, to_json
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.files import is_file, unwritable
from lm_eval_steer.locks import take


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
        self.folder = Path(os.path.expanduser(folder))
        self.rank = rank
        if is_file(self.folder):
            raise SteeringError(f"the record {self.folder} is a file: name a folder")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(
                dir=self.folder
            ):  # whether there is room shows when there is something to write
                pass
        except (OSError, ValueError) as error:  # the latter for a name with a zero byte
            raise unwritable(self.folder, error) from None
        self._contents: dict[str, dict[str, Any]] = {}
        self._places: dict[str, tuple[Path, int, int]] = {}  # fingerprint -> file, offset, length: texts stay on disk
        self._headers: dict[Path, set[str]] = {}
        self._ends: dict[Path, int] = {}  # behind the last line feed that this object knows of
        self._open_files: dict[Path, tuple[int, Callable[[], None]]] = {}  # handle, and what lets go of its lock
        for path in list_files(self.folder):
            self._index(path)

    def __enter__(self) -> Record:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(*((SteeringError,) if error else ())):  # of two errors the first is the reason
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

    @property
    def contents(self) -> list[dict[str, Any]]:
        """Every settings that the record's files have, file by file and in their order, and those declared since."""
        return list(self._contents.values())

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
            SteeringError: where they cannot be, and where somebody removed their file.
        """
        for path, (handle, _) in self._open_files.items():
            try:
                os.fsync(handle)
            except OSError as error:
                raise _unwritten(path, str(error.strerror)) from None
            _refuse_lost(path, handle)

    def close(self) -> None:
        """Flush, and let other runs append. Whatever happens, nothing is held afterwards.

        Raises:
            SteeringError: as `flush`.
        """
        try:
            self.flush()
        finally:
            while self._open_files:
                path, (handle, release) = self._open_files.popitem()
                try:
                    if os.fstat(handle).st_size != self._ends.get(path, 0):
                        # An interrupt (Ctrl-C in a notebook) fell between a write and the note of it. Since the file
                        # was held, whatever is in it is this object's own.
                        with contextlib.suppress(SteeringError):
                            self._index(path)
                finally:
                    os.close(handle)
                    release()

    def _index(self, path: Path) -> None:
        """Note what a file holds."""
        headers = self._headers.setdefault(path, set())
        for offset, length, entry in scan(path):
            self._ends[path] = offset + length
            if isinstance(entry, Line):
                self._places.setdefault(entry.fingerprint, (path, offset, length))
            else:
                headers.add(entry.settings)
                self._contents[entry.settings] = entry.content

    def _open(self, path: Path) -> int:
        """The handle of a file of this rank, held, with its half line cut off."""
        if path in self._open_files:
            return self._open_files[path][0]
        try:
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0)  # the last is of Windows
            handle = os.open(path, flags, 0o666)
        except OSError as error:
            raise _unwritten(path, str(error.strerror)) from None
        release = None
        try:
            # A file of its own: on Windows nobody could read one that is locked.
            release = take(path.with_name(f".{path.name}.lock"), str(path), "wait for its end, or name another record")
            end = self._ends.get(path, 0)
            size = os.lseek(handle, 0, os.SEEK_END)
            os.lseek(handle, min(end, size), os.SEEK_SET)
            half = os.read(handle, size - end) if size > end else b""
            if size < end or b"\n" in half:
                raise SteeringError(
                    f"{path} has other lines than when this run opened it, another run wrote to it: start this run "
                    "again, it goes on from them"
                )
            os.ftruncate(handle, end)
            _sync_folder(self.folder)
            self._open_files[path] = (handle, release)
        except BaseException as error:
            self._open_files.pop(path, None)
            os.close(handle)
            if release:
                release()
            if isinstance(error, OSError):
                raise _unwritten(path, str(error.strerror or error)) from None
            raise
        return handle

    def _write(self, path: Path, handle: int, raw: bytes) -> int:
        """Append `raw` with one call, all of it or nothing, and return where it begins."""
        _refuse_lost(path, handle)
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


def _refuse_lost(path: Path, handle: int) -> None:
    """Refuse to go on where a file that is open is not at its path any more: nobody would find its lines."""
    mine = os.fstat(handle)
    try:
        there = os.stat(path)
    except OSError:
        there = None
    # Some network file systems number a file anew, so its size has a say.
    if there is None or not mine.st_nlink or not (os.path.samestat(mine, there) or mine.st_size == there.st_size):
        raise SteeringError(
            f"{path} was removed or replaced while this run uses it, and the responses in it are lost: leave the "
            "record where it is until the run ends, and start again"
        )


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
