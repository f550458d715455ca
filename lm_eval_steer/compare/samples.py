"""What a run was asked and what it answered, document by document: the rows of a file of samples."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from lm_eval_steer.axis.record import digest
from lm_eval_steer.compare.result_files import read_samples
from lm_eval_steer.compare.scores import Response
from lm_eval_steer.text import as_text

_encode = json.JSONEncoder(ensure_ascii=False).encode


@dataclass(frozen=True, slots=True)
class Logged:
    """One document's outcome, as it was logged.

    Attributes:
        key: document and prompt; two runs are paired where these agree.
        response: what the model wrote.
        items: metric, `name,filter`, -> what the harness aggregates over documents: a number, a pair, a list, ...; None
            where the document has none.
    """

    key: tuple[str, str]
    response: str
    items: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Sample:
    """One document's outcome by one metric.

    Attributes:
        key: as that of `Logged`, like the next one.
        response: likewise.
        score: by the metric; where the run's score is of documents together, a number whose mean that is and which says
            how the document moves it.
        item: what the harness aggregates, by the metric.
    """

    key: tuple[str, str]
    response: str
    score: float
    item: Any = None


@dataclass(frozen=True)
class Document:
    """What a run was asked, and what it answered.

    Attributes:
        key: as that of its sample.
        number: the harness's; in a group it goes on from member to member.
        doc_id: the harness's.
        content: as the task has it.
        target: the right answer.
        prompt: what the model saw; of several choices, what stands before the first.
        choices: what multiple choice scored; empty for a generation.
        request: digest of the prompt, or of all choices with theirs, as a record has it; empty where there is none.
        task: that asks it.
        response: of choices, their log-likelihoods as text, and the number of the likeliest as the answer.
    """

    key: tuple[str, str]
    number: int
    content: Any
    target: str
    prompt: str
    choices: tuple[str, ...]
    request: str
    response: Response
    doc_id: int = 0
    task: str = ""


def as_member(task: str, key: tuple[str, str]) -> tuple[str, str]:
    """The key of a document among those of a group."""
    return f"{task} {key[0]}", key[1]


def find_logged(file: Path, metric: str, n: int, others: Iterable[str] = ()) -> list[Logged]:
    """The documents of a run of n documents, in the order of its file.

    Args:
        file: of the samples.
        metric: one of the task, as in `acc,none`, whose filter's rows must be there.
        n: documents.
        others: the task's other metrics.

    Raises:
        ValueError, KeyError, ...: for what is no whole file of samples.
    """
    name, filter_name = metric.split(",", 1)
    found = read_samples(file)
    rows = found.get(filter_name, [])
    if len(rows) < n:
        raise ValueError(f"{file.name} holds {len(rows)} of {n} documents")
    for row in rows:
        _answered(row, _asked(row), name)  # now, so that nobody meets one that is not whole later
    items = {other: _by_document(found, other) for other in (metric, *others)}
    return [
        Logged(
            key=(row["doc_hash"], row["prompt_hash"]),
            response=_encode(row["resps"]),
            items={other: values.get(row["doc_id"]) for other, values in items.items()},
        )
        for row in rows
    ]


def _by_document(found: Mapping[str, list[dict[str, Any]]], metric: str) -> dict[int, Any]:
    """Number of a document -> its item of a metric."""
    name, filter_name = metric.split(",", 1)
    return {row["doc_id"]: row.get(name) for row in found.get(filter_name, ())}


def is_number(value: Any) -> bool:
    """Whether a value is one finite number."""
    return isinstance(value, int | float) and math.isfinite(value)


def find_documents(file: Path, metric: str) -> list[Document]:
    """The documents of a run, by number; raises as `find_samples`."""
    name, filter_name = metric.split(",", 1)
    rows = read_samples(file).get(filter_name, ())
    return sorted((_document(row, name) for row in rows), key=lambda one: one.number)


def show_choices(choices: Sequence[str], scores: Sequence[Sequence[Any]]) -> str:
    """What multiple choice came to, as text: a line per choice, the likeliest marked."""
    best = _likeliest(scores)
    return "\n".join(
        f"{'→' if place == best else ' '} {place} {float(one[0]):9.3f}  {choice.strip()}"
        for place, (choice, one) in enumerate(zip(choices, scores, strict=True))
    )


def _likeliest(scores: Sequence[Sequence[Any]]) -> int:
    return max(range(len(scores)), key=lambda place: float(scores[place][0]))


class _Asked(NamedTuple):
    """What a row asked.

    Attributes:
        texts: prompts, one per choice.
        scored: what was scored behind them; empty for a generation.
        choices: the same of multiple choice, else empty.
    """

    texts: list[str]
    scored: list[str]
    choices: tuple[str, ...]

    @property
    def request(self) -> str:
        """As that of `Document`."""
        if self.choices:
            return digest([part for pair in zip(self.texts, self.choices, strict=True) for part in pair])
        return digest(self.texts[:1]) if self.texts and not self.scored else ""


def _asked(row: Mapping[str, Any]) -> _Asked:
    given = row.get("arguments")
    parts = [one for one in given.values() if isinstance(one, dict)] if isinstance(given, dict) else []
    texts = [str(one.get("arg_0", "")) for one in parts]
    scored = [one["arg_1"] for one in parts if isinstance(one.get("arg_1"), str)]
    return _Asked(texts, scored, tuple(scored) if len(scored) == len(parts) else ())


def _answered(row: Mapping[str, Any], asked: _Asked, metric: str) -> Response:
    """Raises KeyError, TypeError, ... for a row that is not whole."""
    responses, filtered = row["resps"], row.get("filtered_resps")
    read: Any = filtered[0] if isinstance(filtered, list) and len(filtered) == 1 else None
    if asked.choices:
        scores = [one[0] for one in responses]
        response, read = show_choices(asked.choices, scores), _likeliest(scores)
    elif asked.scored:  # texts and log-likelihoods of one document
        response = "\n".join(as_text(one[0]) for one in responses)
    else:
        response = as_text(responses[0][0])
    score = float(row[metric]) if is_number(row[metric]) else None
    return Response(response, None if read is None else as_text(read), score)


def _document(row: Mapping[str, Any], metric: str) -> Document:
    asked = _asked(row)
    return Document(
        key=(row["doc_hash"], row["prompt_hash"]),
        number=int(row["doc_id"]),
        doc_id=int(row["doc_id"]),
        content=row.get("doc"),
        target=as_text(row.get("target")),
        prompt=asked.texts[0] if asked.texts else "",
        choices=asked.choices,
        request=asked.request,
        response=_answered(row, asked, metric),
    )
