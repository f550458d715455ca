"""The file of rationales: JSONL, one attempt a line, which grows by batches and outlives a kill, a full disk and `rm`.

A line is {"row", "rationale", "kept", "response"}, and "model" and "asked", which tell whose it is.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.files import decode, is_folder, parse_json, read_bytes, refuse_unwritable, unwritable
from lm_eval_steer.models.checkpoint import checkpoint_digest
from lm_eval_steer.models.neutral import NEUTRAL

logger = logging.getLogger(f"lm_eval.{__name__}")

Attempt = dict[str, Any]
WHAT = "rationales"
_BEGINNING = b'{"row"'
"""Of each line that is written."""


@dataclass(frozen=True)
class Author:
    """Who writes rationales.

    Attributes:
        name: of the model, for people.
        asked: short hash of all that decides what it writes, whichever rows it is asked for.
    """

    name: str
    asked: str

    @classmethod
    def of(cls, model: str, model_args: Mapping[str, Any], **settings: Any) -> Author:
        """Of a model class of the harness, its arguments and how it is asked."""
        named = {key: value for key, value in model_args.items() if key not in NEUTRAL}
        name = str(named.get("pretrained") or named.get("model") or model)
        if is_folder(name):  # it is what it holds, wherever it lies
            named["pretrained"], name = checkpoint_digest(named), Path(name).resolve().name
        kind = "hf" if model == "steered-hf" else model
        whole = json.dumps([kind, named, settings], sort_keys=True, default=str)
        return cls(name, hashlib.sha256(whole.encode(errors="replace")).hexdigest()[:16])


class RationaleFile:
    """The file, open to be gone on with.

    Attributes:
        attempts: by row, those in the file; a later one of the same row counts.
    """

    def __init__(self, path: str | Path, author: Author | None = None) -> None:
        """Read what is there and see that more can be written; makes nothing yet.

        Raises:
            SteeringError: for a place that cannot be written, and for a file that is none of rationales or another
                author's.
        """
        self.path = Path(os.path.expanduser(path))
        refuse_unwritable(self.path if str(path) else "")
        self._author = author
        self._identity: tuple[int, int] | None = None
        self.attempts: dict[str, Attempt] = {}
        if os.path.lexists(self.path):
            for number, line in read_lines(self.path):
                self._check(line, number)
                self.attempts[line["row"]] = line
            unknown = sum("model" not in line for line in self.attempts.values())
            if author is not None and unknown:
                logger.warning("%s holds %d rationales that do not say who wrote them", self.path, unknown)

    def add(self, attempts: Sequence[Attempt]) -> None:
        """Put attempts behind those that are there, and flush them to disk.

        Raises:
            SteeringError: for a disk without room; what was there before is kept, and so is the start of the next run.
        """
        for attempt in attempts:
            if self._author is not None:
                attempt |= {"model": self._author.name, "asked": self._author.asked}
            self.attempts[attempt["row"]] = attempt
        try:
            if self._identity is None or self._identity == self._found():
                self._append(attempts)
            else:
                known = {line["row"] for _, line in read_lines(self.path)} if self._found() else set()
                missing = [attempt for row, attempt in self.attempts.items() if row not in known]
                logger.warning("%s vanished while it was written: writing %d lines again", self.path, len(missing))
                self._append(missing)
        except OSError as error:
            raise unwritable(self.path, error) from None

    def _append(self, attempts: Sequence[Attempt]) -> None:
        # Half of a surrogate pair becomes its escape, which is JSON.
        lines = [json.dumps(attempt, ensure_ascii=False).encode(errors="backslashreplace") for attempt in attempts]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path, "ab", buffering=0) as file:
            before = os.fstat(file.fileno()).st_size
            gap = b""
            if before and self._identity != self._found():  # as another run, or an editor, left it
                before, gap = _end(read_bytes(self.path, WHAT))
                file.truncate(before)
            left = memoryview(gap + b"".join(line + b"\n" for line in lines))
            try:
                while left:
                    left = left[file.write(left) :]
                os.fsync(file.fileno())
            except BaseException:
                file.truncate(before)
                raise
        self._identity = self._found()

    def _found(self) -> tuple[int, int] | None:
        """Which file is at the path; None for none."""
        try:
            status = os.stat(self.path)
        except FileNotFoundError:
            return None
        return status.st_dev, status.st_ino

    def _check(self, line: Attempt, number: int) -> None:
        if "row" not in line or not isinstance(line.get("kept"), bool):
            raise SteeringError(
                f"{self.path}, line {number}: this is no line of lm-eval-steer rationales (it has no "
                f"{'row' if 'row' not in line else 'kept of true or false'}), and what it writes does not go into "
                "another file: name a new --out"
            )
        if self._author is None or line.get("asked") in (None, self._author.asked):
            return
        model = line.get("model")
        if model != self._author.name:
            raise SteeringError(
                f"{self.path} holds rationales of {model}, and this run asks {self._author.name}: name another --out"
            )
        raise SteeringError(
            f"{self.path} holds rationales of {model}, which was asked in another way than now (--model, --model_args, "
            "--max_gen_toks, --apply_chat_template): ask as before, or name another --out"
        )


def read_lines(path: str | Path) -> list[tuple[int, Attempt]]:
    """Number and content of each line of a file of rationales, or of a user's; half a line at its end is left out.

    Raises:
        SteeringError: names file and line.
    """
    raw = read_bytes(path, WHAT)
    end = _end(raw)[0]
    if raw[end:].strip():
        logger.warning("%s: its last line is half written and left out", path)
    lines = []
    for number, text in enumerate(decode(raw[:end], path).split("\n"), start=1):
        if not text.strip():
            continue
        try:
            line = parse_json(text)
            whole = isinstance(line["rationale"], str) and isinstance(line.get("row", line.get("id")), str)
        except (ValueError, KeyError, TypeError, AttributeError):
            whole = False
        if not whole:
            raise SteeringError(f'{path}, line {number}: expected {{"row": ..., "rationale": ...}}, got {text[:60]!r}')
        lines.append((number, line))
    return lines


def _end(raw: bytes) -> tuple[int, bytes]:
    """Where the whole lines of a file end, and the line feed that a whole last line may lack.

    Half a line is what a run that was killed left behind; a last line that begins in another way is somebody's own.
    """
    end = raw.rfind(b"\n") + 1
    tail = raw[end:]
    is_ours = tail.startswith(_BEGINNING) or _BEGINNING.startswith(tail)
    with suppress(ValueError):
        parse_json(tail.decode())
        is_ours = False
    return (end, b"") if is_ours else (len(raw), b"\n")
