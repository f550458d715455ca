"""Files: checked before the work, written whole or not at all, and read only where they are what they should be.

Whatever the system says against it becomes one sentence.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import platform
import re
import stat
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from lm_eval_steer.errors import FULL, SteeringError
from lm_eval_steer.text import shortened

MAX_NESTING = 100
"""Levels of a JSON file."""

_BLOCK = 4096
"""Bytes that are tried: a full disk still takes an empty file."""
_LONGEST_NAME = 180
"""Bytes of a name that leave room for what the name of a temporary file adds to it."""
_OLD = 24 * 3600
"""Seconds after which a temporary file of another machine has no writer any more."""
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_RUST_NUMBER = re.compile(r"\(os error (\d+)\)")


# Whether something is there


def is_file(path: str | Path) -> bool:
    """Whether `path` leads to a regular file; False, too, for what no path can be (a loop of links)."""
    return _kind(path, stat.S_ISREG)


def is_folder(path: str | Path) -> bool:
    """Whether `path` leads to a folder; False, too, for what no path can be."""
    return _kind(path, stat.S_ISDIR)


def _kind(path: str | Path, test: Callable[[int], bool]) -> bool:
    try:
        return test(os.stat(path).st_mode)
    except (OSError, ValueError):  # ValueError: a name with a zero byte
        return False


# Writing


def refuse_unwritable(path: str | Path) -> None:
    """Check, before the work whose result goes to `path`, that it can be written there. Makes no folder.

    Raises:
        SteeringError: for an empty name, a name that is too long, a folder, device or pipe in its place, a read-only
            file, a disk without room, and for a folder around it that cannot be made or written to.
    """
    if not str(path):
        raise SteeringError("the name of a file to write is empty: name a file")
    path, shown = Path(path), shortened(path)
    if is_folder(path):
        raise SteeringError(f"{shown} is a folder: name a file")
    try:
        around = next(folder for folder in path.absolute().parents if os.path.lexists(folder))
        for name in (*path.absolute().relative_to(around).parts, f"{_prefix(path)}{'x' * 8}.part"):
            _exists(around / name)  # each alone: below a missing folder no name is looked at
        is_special = _exists(path) and os.path.exists(path) and not is_file(path)
        if is_file(path) and not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        with tempfile.TemporaryFile(dir=around) as file:
            file.write(bytes(_BLOCK))
    except (OSError, ValueError) as error:
        raise unwritable(path, error) from None
    if is_special:
        raise SteeringError(f"{shown} is a device, a pipe or a socket: name a file")


def write_whole(path: str | Path, write: Callable[[Path], object]) -> Path:
    """Call `write` on a temporary file beside `path`, flush it to disk and rename it onto `path`.

    A reader, and a run that was killed, sees the old file or the new one, never half of one. What writers of the same
    file left behind when they were killed is removed.

    Raises:
        SteeringError: where the system refuses it, a full disk above all.
    """
    path = Path(path)
    part: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(path)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=_prefix(path), suffix=".part")
        part = Path(name)
        os.close(handle)
        write(part)
        with open(part, "rb") as file:
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        part.chmod(0o666 & ~umask)
        os.replace(part, path)
    except BaseException as error:
        if part is not None:
            with suppress(OSError):
                part.unlink()
        refused = said_by_the_system(error)
        if refused is None:
            raise
        raise unwritable(path, refused) from None
    return path


class UnwritableError(SteeringError):
    """A file that cannot be written.

    Attributes:
        refusal: the file and the reason, without what to do.
    """

    def __init__(self, refusal: str, advice: str = "") -> None:  # one argument is what pickle gives
        super().__init__(f"{refusal}: {advice}" if advice else refusal)
        self.refusal = refusal


def unwritable(path: str | Path, error: Exception) -> UnwritableError:
    """The sentence for what the system said against writing `path`."""
    full = isinstance(error, OSError) and error.errno in FULL
    advice = "make room and run again" if full else "name another place"
    return UnwritableError(f"{shortened(path)} cannot be written ({_reason(error)})", advice)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def said_by_the_system(error: BaseException) -> OSError | None:
    """The system's refusal in an error: itself one, one of a library in Rust, or behind it a disk without room."""
    if isinstance(error, OSError):
        return error
    if isinstance(error, Exception) and (told := _RUST_NUMBER.search(str(error))):
        return OSError(int(told[1]), os.strerror(int(told[1])))
    behind = error.__cause__ or error.__context__  # torch says "unexpected pos" where the disk is full
    return behind if isinstance(behind, OSError) and behind.errno in FULL else None


def _exists(path: Path) -> bool:
    """Whether there is anything; raises for what no path can be."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _prefix(path: Path) -> str:
    """How the names of temporary files begin: hidden, with the file, this machine and this process."""
    return f".{_own_name(path)}.{_machine()}-{os.getpid()}-"


def _own_name(path: Path) -> str:
    raw = os.fsencode(path.name)
    return path.name if len(raw) <= _LONGEST_NAME else hashlib.sha256(raw).hexdigest()


def _machine() -> str:
    return f"{zlib.crc32(platform.node().encode(errors='replace')):08x}"


def _remove_leftovers(path: Path) -> None:
    """Remove temporary files of `path` whose writers are no more; those of a writer that is at it stay."""
    pattern = re.compile(rf"\.{re.escape(_own_name(path))}\.(?:([0-9a-f]{{8}})-(\d+)-)?[a-z0-9_]{{8}}\.part")
    for entry in os.scandir(path.parent):
        found = pattern.fullmatch(entry.name)
        if found is None:
            continue
        try:
            since = entry.stat(follow_symlinks=False).st_mtime
            if found[1] is None or not _is_written(found[1], int(found[2]), since):
                os.unlink(entry.path)
        except OSError:  # another writer was faster, or it is not ours to remove
            continue


def _is_written(machine: str, process: int, since: float) -> bool:
    """Whether a temporary file last changed at `since` still has its writer."""
    if machine != _machine():
        return time.time() - since < _OLD
    try:
        writer = psutil.Process(process)
        return writer.status() != psutil.STATUS_ZOMBIE and writer.create_time() <= since + 1
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:
        return True


# Reading


def read_text(path: str | Path, what: str) -> str:
    """The text of a regular file in UTF-8, with or without a byte order mark.

    Args:
        path: the file.
        what: it holds, in the plural, as in `pairs`.

    Raises:
        SteeringError: as `read_bytes`, and for another encoding.
    """
    return decode(read_bytes(path, what), shortened(path))


def read_bytes(path: str | Path, what: str) -> bytes:
    """What a regular file holds; arguments as those of `read_text`.

    Raises:
        SteeringError: as `refuse_unreadable`.
    """
    refuse_unreadable(path, what)
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise SteeringError(f"{shortened(path)}: this file of {what} cannot be read ({_reason(error)})") from None


def refuse_unreadable(path: str | Path, what: str) -> None:
    """Check that there is a regular file; arguments as those of `read_text`.

    Raises:
        SteeringError: names the file, for everything else: nothing there, a folder, a pipe or a device (which may have
            no end), a file larger than the free memory.
    """
    shown = shortened(path)
    try:
        refusal = _refusal(os.stat(path), what)
    except (FileNotFoundError, NotADirectoryError):
        raise SteeringError(f"{shown}: no such file of {what}") from None
    except (OSError, ValueError) as error:  # ValueError: a name with a zero byte
        raise SteeringError(f"{shown}: this file of {what} cannot be read ({_reason(error)})") from None
    if refusal:
        raise SteeringError(f"{shown}: {refusal}")


def _refusal(status: os.stat_result, what: str) -> str:
    """Why something is not read; empty where it is."""
    if stat.S_ISDIR(status.st_mode):
        return f"this is a folder, expected a file of {what}"
    if not stat.S_ISREG(status.st_mode):
        return f"this is a device, a pipe or a socket, expected a file of {what}"
    if status.st_size > psutil.virtual_memory().available // 2:
        return f"{status.st_size / 2**30:.1f} GiB of {what} do not fit into the free memory"
    return ""


def decode(raw: bytes, name: object) -> str:
    """UTF-8 as text, without its byte order mark.

    Raises:
        SteeringError: names the file and the first byte that is no UTF-8.
    """
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in raw:
        raise SteeringError(f"{name}: this is no UTF-8 text (it looks like UTF-16): save it as UTF-8")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise SteeringError(
            f"{name}, line {line}: byte 0x{raw[error.start]:02x} is no UTF-8 text: save the file as UTF-8"
        ) from None


def read_json(path: str | Path, what: str) -> Any:
    """The content of a JSON file.

    Args:
        path: the file.
        what: it holds, in the plural, as in `results`.

    Raises:
        SteeringError: as `read_text`, and for what is no JSON (see `parse_json`).
    """
    text = read_text(path, what)
    try:
        return parse_json(text)
    except ValueError as error:
        raise SteeringError(f"{shortened(path)}: not a whole JSON file of {what} ({error})") from None


def parse_json(text: str) -> Any:
    """The value in a JSON text, with half of a surrogate pair, which nothing can write, as U+FFFD.

    Raises:
        ValueError: in one line, for what is no JSON, for more than MAX_NESTING levels and for a whole number that no
            float holds.
    """
    try:
        value = json.loads(text, parse_int=_whole_number)
        has_halves = "\\u" in text and _SURROGATE.search(text) is not None
        if has_halves or text.count("[") + text.count("{") > MAX_NESTING:
            value = _checked(value, MAX_NESTING)
    except RecursionError:
        raise ValueError(f"more than {MAX_NESTING} levels") from None
    return value


def json_lines(text: str) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """Number from 1, text and object of each line of a JSONL that is not blank; an empty object for what is none."""
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                row = parse_json(line)
            except ValueError:
                row = None
            yield number, line, row if isinstance(row, dict) else {}


def _whole_number(digits: str) -> int:
    if len(digits) > 308:  # 10**308 is the last power of ten that a float holds
        raise ValueError(f"a whole number of {len(digits)} digits")
    return int(digits)


def _checked(value: Any, levels: int) -> Any:
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, dict | list) and not levels:
        raise ValueError(f"more than {MAX_NESTING} levels")
    if isinstance(value, dict):
        return {_checked(key, levels): _checked(item, levels - 1) for key, item in value.items()}
    if isinstance(value, list):
        return [_checked(item, levels - 1) for item in value]
    return value
