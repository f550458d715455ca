"""The files of a record, and all that only reads them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from lm_eval_steer.axis.record.line import BROKEN, VERSION, Line, OtherVersion, Settings, decode, digest
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.files import is_file, is_folder
from lm_eval_steer.text import shortened

_NAME = re.compile(r"(?P<stem>.+)\.rank(?P<rank>\d+)\.jsonl", re.ASCII)


def read_lines(folder: str | Path, task: str | None = None) -> Iterator[Line]:
    """The lines of a record, also of one that is being written; of lines with the same fingerprint, the first.

    Args:
        folder: the record.
        task: only the lines of this task.

    Raises:
        SteeringError: for a folder that is missing, and, from the iterator, for a file that cannot be read.
    """
    return _first_lines(_files_of(folder, task), task)


def settings_of(folder: str | Path) -> dict[str, dict[str, Any]]:
    """Every settings that a line of the record names, by digest.

    Raises:
        SteeringError: as `read_lines`.
    """
    entries = (entry for path in list_files(_existing(folder)) for _, _, entry in scan(path))
    return {entry.settings: entry.content for entry in entries if isinstance(entry, Settings)}


def _files_of(folder: str | Path, task: str | None) -> list[Path]:
    paths = list_files(_existing(folder))
    if task is None:
        return paths
    stem = _stem(task).casefold()  # a file system may hold two tasks in one file: the lines say whose they are
    return [path for path in paths if _named(path)[0].casefold() == stem]


def _first_lines(paths: list[Path], task: str | None) -> Iterator[Line]:
    seen = set()
    for path in paths:
        for _, _, entry in scan(path):
            if isinstance(entry, Line) and entry.fingerprint not in seen and task in (None, entry.task):
                seen.add(entry.fingerprint)
                yield entry


def _existing(folder: str | Path) -> Path:
    folder = Path(os.path.expanduser(folder))
    if not is_folder(folder):
        shown = shortened(folder)
        raise SteeringError(f"{shown}: no such folder of records; a run with record={shown} makes it")
    return folder


def list_files(folder: Path) -> list[Path]:
    """The files of a record by task, then by rank: the order in which the first line with a fingerprint counts."""
    try:
        return sorted((path for path in folder.iterdir() if _NAME.fullmatch(path.name)), key=_named)
    except OSError as error:
        raise SteeringError(
            f"{folder} cannot be read ({error.strerror}): make it readable, or name another record"
        ) from None


def _named(path: Path) -> tuple[str, int]:
    match = _NAME.fullmatch(path.name)
    assert match is not None  # `list_files` lists no others
    return match["stem"], int(match["rank"])


def path_of(folder: Path, task: str, rank: int) -> Path:
    return folder / f"{_stem(task)}.rank{rank}.jsonl"


def _stem(task: str) -> str:
    """A task's name as part of a file name: percent-encoded, and cut where file systems would refuse its length."""
    stem = quote(task, safe="", errors="surrogatepass")
    return stem if len(stem) <= 180 else f"{stem[:160]}~{digest(task)[:16]}"


def scan(path: Path) -> Iterator[tuple[int, int, Line | Settings]]:
    """Offset, length and content of every line that ends in a line feed."""
    declared = set()
    offset = 0
    try:
        if os.path.exists(path) and not is_file(path):  # a named pipe would be waited for, a device has no end
            raise SteeringError(
                f"{path} is no regular file, as those of a record are: remove it, or name another record"
            )
        file = path.open("rb")
    except OSError as error:
        raise SteeringError(
            f"{path} cannot be read ({error.strerror}): make it readable, or name another record"
        ) from None
    with file:
        for number, raw in enumerate(file, start=1):  # a binary file has lines between "\n" and nothing else
            if not raw.endswith(b"\n"):
                return
            try:
                entry = decode(raw)
                if isinstance(entry, Settings):
                    declared.add(entry.settings)
                elif entry.settings not in declared:
                    raise ValueError(f"no line above has its settings {entry.settings}")
            except OtherVersion as error:
                raise SteeringError(
                    f"{path}, line {number} is of version {error}, but this lm_eval_steer reads version {VERSION}: "
                    "name another record, or use the lm_eval_steer that wrote this one"
                ) from None
            except BROKEN as error:
                raise SteeringError(
                    f"{path}, line {number} is no whole line of a record ({error!r}): restore the file, remove that "
                    "line (its response is then asked for again), or name another record"
                ) from None
            yield offset, len(raw), entry
            offset += len(raw)
