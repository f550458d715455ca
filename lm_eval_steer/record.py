"""The record of responses: append-only JSONL, one file per task and rank, from which a killed run goes on.

docs/RECORD.md is its specification. A line counts once its line feed is in the file; what stands behind the last line
feed was never acknowledged, so readers ignore it and the next writer cuts it off.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import math
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple
from urllib.parse import quote

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.files import refuse_unwritable

logger = logging.getLogger(f"lm_eval.{__name__}")  # lm_eval shows what the children of its own logger say

VERSION = 1
VOLATILE = ("time", "seconds")
"""The fields that differ between two runs that are otherwise the same."""

KINDS = ("generation", "choices")
STOPS = ("eos", "stop", "length", None)

_NAME = re.compile(r"(?P<stem>.+)\.rank(?P<rank>\d+)\.jsonl", re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{64}")
# JSON has no such numbers. float() of Python and Number() of JavaScript read these words.
_NO_JSON = {"-Infinity": -math.inf, "Infinity": math.inf, "NaN": math.nan}
_BROKEN = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)


@dataclass(frozen=True, kw_only=True)
class Line:
    """One response to one request.

    Attributes:
        fingerprint: SHA-256 of everything that determines the response; at most one line of a record has it.
        settings: SHA-256 of the run's settings, which are the fingerprint's part without the request.
        kind: `generation` or `choices` (one line for all choices of a document).
        task: name of the task.
        doc_id: the harness's number of the document.
        repeat: which of the task's repeats of the request, from 0.
        prompt: SHA-256 of the prompt.
        alpha: strength.
        variant: label of a control or a sample; empty for the vector itself.
        response: what the model wrote; None for choices.
        scores: (log-likelihood, is greedy) of every choice; None for a generation.
        answer: what the vote counts; None for no answer.
        tokens: generated tokens; None where unknown.
        logprob: sum of the generated tokens' log-probabilities, may be -inf; None where unknown.
        stop: what ended the response: `eos`, `stop` (a stop text), `length`, or None where unknown.
        time: seconds since 1970 at which it was recorded.
        seconds: that it took.
        version: of the schema.

    Raises:
        ValueError: for a field of another type or range.
    """

    version: int = VERSION
    fingerprint: str
    settings: str
    kind: str
    task: str
    doc_id: int
    repeat: int
    prompt: str
    alpha: float
    variant: str
    response: str | None
    scores: tuple[tuple[float, bool], ...] | None
    answer: str | None
    tokens: int | None
    logprob: float | None
    stop: str | None
    time: float
    seconds: float

    def __post_init__(self) -> None:
        for name in ("fingerprint", "settings", "prompt"):
            value = getattr(self, name)
            self._check(name, isinstance(value, str) and _SHA256.fullmatch(value), "a SHA-256 in lower-case hex")
        self._check("version", _is_int(self.version) and self.version == VERSION, str(VERSION))
        self._check("kind", self.kind in KINDS, f"one of {KINDS}")
        self._check("task", isinstance(self.task, str) and self.task, "text")
        self._check("variant", isinstance(self.variant, str), "text")
        self._check("answer", isinstance(self.answer, str | None), "text or None")
        self._check("doc_id", _is_int(self.doc_id), "an integer")
        self._check("repeat", _is_int(self.repeat) and self.repeat >= 0, "an integer from 0")
        self._check("tokens", self.tokens is None or (_is_int(self.tokens) and self.tokens >= 0), "an integer from 0")
        self._check("logprob", isinstance(self.logprob, float | None), "a float or None")
        self._check("stop", self.stop in STOPS, f"one of {STOPS}")
        for name in ("alpha", "time", "seconds"):
            value = getattr(self, name)
            self._check(name, isinstance(value, float) and math.isfinite(value), "a finite float")
        if self.kind == "generation":
            self._check("response", isinstance(self.response, str), "text, as in every generation")
            self._check("scores", self.scores is None, "None, as in every generation")
        else:
            self._check("response", self.response is None, "None, as in all choices")
            self._check("scores", _are_scores(self.scores), "a tuple of (float, bool), one per choice")

    def _check(self, name: str, good: object, expected: str) -> None:
        if not good:
            raise ValueError(f"{name} is {getattr(self, name)!r:.60}, not {expected}")


class _Settings(NamedTuple):
    """A header line: the content that a line's `settings` is the digest of."""

    settings: str
    content: dict[str, Any]


class _OtherVersion(ValueError):
    """A line of a version that this module does not read."""


def digest(content: Any) -> str:
    """SHA-256 of plain JSON with sorted keys.

    Raises:
        TypeError: for what is no JSON. Nothing is turned into text on the way, so nothing hides behind its `repr`.
        ValueError: for NaN and infinities.
    """
    _refuse_keys(content)
    return hashlib.sha256(json.dumps(content, sort_keys=True, allow_nan=False).encode()).hexdigest()


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
        refuse_unwritable(_path(self.folder, "probe", rank))
        self._contents: dict[str, dict[str, Any]] = {}
        self._places: dict[str, tuple[Path, int, int]] = {}  # fingerprint -> file, offset, length: texts stay on disk
        self._headers: dict[Path, set[str]] = {}
        self._ends: dict[Path, int] = {}  # behind the last line feed that this object knows of
        self._handles: dict[Path, int] = {}
        for path in _files(self.folder):
            headers = self._headers.setdefault(path, set())
            for offset, length, entry in _scan(path):
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
                line = _decode(file.read(length))
        except (OSError, *_BROKEN):
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
        self._open(_path(self.folder, task, self.rank))

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
        path = _path(self.folder, line.task, self.rank)
        handle = self._open(path)
        headers = self._headers.setdefault(path, set())
        if line.settings not in headers:
            header = {"version": VERSION, "kind": "settings", "settings": line.settings}
            self._write(path, handle, _encode({**header, "content": self._contents[line.settings]}))
            headers.add(line.settings)
        raw = _encode(_to_json(line))
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


def read_lines(folder: str | Path, task: str | None = None) -> Iterator[Line]:
    """The lines of a record, also of one that is being written; of lines with the same fingerprint, the first.

    Args:
        folder: the record.
        task: only the lines of this task.

    Raises:
        SteeringError: for a folder that is missing, and, from the iterator, for a file that cannot be read.
    """
    return (entry for entry in _first_entries(_files_of(folder, task), task) if isinstance(entry, Line))


def read_with_settings(folder: str | Path, task: str | None = None) -> Iterator[tuple[Line, dict[str, Any]]]:
    """As `read_lines`, each line with the content of its settings."""
    contents: dict[str, dict[str, Any]] = {}
    for entry in _first_entries(_files_of(folder, task), task):
        if isinstance(entry, _Settings):
            contents[entry.settings] = entry.content
        else:
            yield entry, contents[entry.settings]


def settings_of(folder: str | Path) -> dict[str, dict[str, Any]]:
    """Every settings that a line of the record names, by digest.

    Raises:
        SteeringError: as `read_lines`.
    """
    entries = (entry for path in _files(_existing(folder)) for _, _, entry in _scan(path))
    return {entry.settings: entry.content for entry in entries if isinstance(entry, _Settings)}


def _files_of(folder: str | Path, task: str | None) -> list[Path]:
    paths = _files(_existing(folder))
    if task is None:
        return paths
    stem = _stem(task).casefold()  # a file system may hold two tasks in one file: the lines say whose they are
    return [path for path in paths if _named(path)[0].casefold() == stem]


def _first_entries(paths: list[Path], task: str | None) -> Iterator[Line | _Settings]:
    """All headers, and of lines with the same fingerprint the first."""
    seen = set()
    for path in paths:
        for _, _, entry in _scan(path):
            if isinstance(entry, _Settings):
                yield entry
            elif entry.fingerprint not in seen and task in (None, entry.task):
                seen.add(entry.fingerprint)
                yield entry


def _existing(folder: str | Path) -> Path:
    if not Path(folder).is_dir():
        raise SteeringError(f"{folder}: no such folder of records; a run with record={folder} makes it")
    return Path(folder)


def _files(folder: Path) -> list[Path]:
    """The files of a record by task, then by rank: the order in which the first line with a fingerprint counts."""
    return sorted((path for path in folder.iterdir() if _NAME.fullmatch(path.name)), key=_named)


def _named(path: Path) -> tuple[str, int]:
    match = _NAME.fullmatch(path.name)
    assert match is not None  # `_files` lists no others
    return match["stem"], int(match["rank"])


def _path(folder: Path, task: str, rank: int) -> Path:
    return folder / f"{_stem(task)}.rank{rank}.jsonl"


def _stem(task: str) -> str:
    """A task's name as part of a file name: percent-encoded, and cut where file systems would refuse its length."""
    stem = quote(task, safe="", errors="surrogatepass")
    return stem if len(stem) <= 180 else f"{stem[:160]}~{digest(task)[:16]}"


def _scan(path: Path) -> Iterator[tuple[int, int, Line | _Settings]]:
    """Offset, length and content of every line that ends in a line feed."""
    declared = set()
    offset = 0
    try:
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
                entry = _decode(raw)
                if isinstance(entry, _Settings):
                    declared.add(entry.settings)
                elif entry.settings not in declared:
                    raise ValueError(f"no line above has its settings {entry.settings}")
            except _OtherVersion as error:
                raise SteeringError(
                    f"{path}, line {number} is of version {error}, but this lm_eval_steer reads version {VERSION}: "
                    "update it, or name another record"
                ) from None
            except _BROKEN as error:
                raise SteeringError(
                    f"{path}, line {number} is no whole line of a record ({error!r}): restore the file, remove that "
                    "line (its response is then asked for again), or name another record"
                ) from None
            yield offset, len(raw), entry
            offset += len(raw)


def _decode(raw: bytes) -> Line | _Settings:
    """Read one line. Raises one of `_BROKEN`."""
    content = json.loads(raw.decode("utf-8"), parse_constant=_refuse_constant)
    version = content["version"]
    if not _is_int(version) or version != VERSION:
        raise _OtherVersion(repr(version))
    if content["kind"] == "settings":
        header = _Settings(content["settings"], content["content"])
        if not isinstance(header.content, dict) or digest(header.content) != header.settings:
            raise ValueError(f"its content has not the digest {header.settings!r:.80}")
        return header
    values = {field.name: content[field.name] for field in fields(Line)}
    for name in ("alpha", "logprob", "time", "seconds"):
        values[name] = _to_float(values[name])
    if values["scores"] is not None:
        values["scores"] = tuple((_to_float(logprob), greedy) for logprob, greedy in values["scores"])
    return Line(**values)


def _to_json(line: Line) -> dict[str, Any]:
    values = {field.name: getattr(line, field.name) for field in fields(line)}
    values["logprob"] = _from_float(line.logprob)
    if line.scores is not None:
        values["scores"] = [(_from_float(logprob), greedy) for logprob, greedy in line.scores]
    return values


def _encode(content: dict[str, Any]) -> bytes:
    """One line of JSON with its line feed, non-ASCII as it is."""
    for ascii_only in (False, True):
        text = json.dumps(content, ensure_ascii=ascii_only, allow_nan=False, separators=(",", ":"))
        with contextlib.suppress(UnicodeEncodeError):  # a lone surrogate, which only an escape can write
            return f"{text}\n".encode()
    raise AssertionError("escaped JSON is ASCII")


def _from_float(value: float | None) -> float | str | None:
    if value is None or math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _to_float(value: Any) -> Any:
    """A number as float, `_NO_JSON` names included; other types as they are, for `Line` to refuse."""
    if isinstance(value, str):
        return _NO_JSON[value]
    return float(value) if _is_int(value) else value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _refuse_keys(content: Any) -> None:
    """JSON makes text of other keys and then sorts them otherwise, so the digest would not survive a round trip."""
    if isinstance(content, Mapping):
        for key, value in content.items():
            if not isinstance(key, str):
                raise TypeError(f"the key {key!r} is not text, as keys of JSON are")
            _refuse_keys(value)
    elif isinstance(content, list | tuple):
        for value in content:
            _refuse_keys(value)


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _are_scores(scores: Any) -> bool:
    return (
        isinstance(scores, tuple)
        and len(scores) > 0
        and all(isinstance(logprob, float) and isinstance(greedy, bool) for logprob, greedy in scores)
    )


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
