"""One line of a record: what it holds, and how it is JSON."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

VERSION = 2
VOLATILE = ("time", "seconds")
"""The fields that differ between two runs that are otherwise the same."""

KINDS = ("generation", "choices", "rolling")
STOPS = ("eos", "stop", "length", None)

_SHA256 = re.compile(r"[0-9a-f]{64}")
# JSON has no such numbers. float() of Python and Number() of JavaScript read these words.
_NO_JSON = {"-Infinity": -math.inf, "Infinity": math.inf, "NaN": math.nan}
BROKEN = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)
"""What `decode` raises for a line that is not whole."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One response to one request.

    Attributes:
        fingerprint: SHA-256 of everything that determines the response; at most one line of a record has it.
        settings: SHA-256 of the run's settings, which are the fingerprint's part without the request.
        kind: `generation`, `choices` (one line for all choices of a document), or `rolling` (a text, scored whole).
        task: name of the task.
        doc_id: the harness's number of the document.
        repeat: which of the task's repeats of the request, from 0.
        prompt: SHA-256 of the prompt.
        alpha: strength.
        variant: label of a control or a sample; empty for the vector itself.
        response: what the model wrote; None where it wrote nothing.
        scores: (log-likelihood, is greedy) of every choice; None without choices.
        answer: what the vote counts; None for no answer.
        tokens: generated tokens; None where unknown.
        logprob: sum of the generated tokens' log-probabilities, of `rolling` that of the text's; may be -inf; None
            where unknown.
        stop: what ended the response: `eos`, `stop` (a stop text), `length`, or None where unknown.
        time: seconds since 1970 at which it was recorded.
        seconds: its own share of the time (docs/RECORD.md).
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
            return
        self._check("response", self.response is None, "None, as where nothing is written")
        if self.kind == "choices":
            self._check("scores", _are_scores(self.scores), "a tuple of (float, bool), one per choice")
        else:
            self._check("scores", self.scores is None, "None, as in every rolling log-likelihood")
            self._check("logprob", self.logprob is not None, "a float, as in every rolling log-likelihood")

    def _check(self, name: str, good: object, expected: str) -> None:
        if not good:
            raise ValueError(f"{name} is {getattr(self, name)!r:.60}, not {expected}")


class Settings(NamedTuple):
    """A header line: the content that a line's `settings` is the digest of."""

    settings: str
    content: dict[str, Any]


class OtherVersion(ValueError):
    """A line of a version that this module does not read."""


def digest(content: Any) -> str:
    """SHA-256 of plain JSON with sorted keys.

    Raises:
        TypeError: for what is no JSON. Nothing is turned into text on the way, so nothing hides behind its `repr`.
        ValueError: for NaN and infinities.
    """
    _refuse_keys(content)
    return hashlib.sha256(json.dumps(content, sort_keys=True, allow_nan=False).encode()).hexdigest()


def decode(raw: bytes) -> Line | Settings:
    """Read one line. Raises one of `BROKEN`."""
    content = json.loads(raw.decode("utf-8"), parse_constant=_refuse_constant)
    version = content["version"]
    if not _is_int(version) or version != VERSION:
        raise OtherVersion(repr(version))
    if content["kind"] == "settings":
        header = Settings(content["settings"], content["content"])
        if not isinstance(header.content, dict) or digest(header.content) != header.settings:
            raise ValueError(f"its content has not the digest {header.settings!r:.80}")
        return header
    values = {field.name: content[field.name] for field in fields(Line)}
    for name in ("alpha", "logprob", "time", "seconds"):
        values[name] = _to_float(values[name])
    if values["scores"] is not None:
        values["scores"] = tuple((_to_float(logprob), greedy) for logprob, greedy in values["scores"])
    return Line(**values)


def to_json(line: Line) -> dict[str, Any]:
    values = {field.name: getattr(line, field.name) for field in fields(line)}
    values["logprob"] = _from_float(line.logprob)
    if line.scores is not None:
        values["scores"] = [(_from_float(logprob), greedy) for logprob, greedy in line.scores]
    return values


def encode(content: dict[str, Any]) -> bytes:
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
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


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
    """Whether it is a whole number that every reader can hold (64 bits)."""
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63


def _are_scores(scores: Any) -> bool:
    return (
        isinstance(scores, tuple)
        and len(scores) > 0
        and all(isinstance(logprob, float) and isinstance(greedy, bool) for logprob, greedy in scores)
    )
