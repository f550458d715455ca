"""Rows that a vector was made from must not be among the documents that it is judged on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.models.documents import document_hash, row_of
from lm_eval_steer.vectors.several import AnyVector

_READ = ("rows", "shots")
"""What a passport lists the hashes of: documents that made pairs, and examples that stood before them."""


def extraction_rows(*vectors: AnyVector) -> frozenset[str]:
    """Hashes of the rows that the passports say the vectors saw, in their pairs, in the examples before them and in the
    texts that they were transferred with, and other parents in theirs; empty for a user's own."""
    return frozenset(row for vector in vectors for source in _sources(vector) for row in _rows(source))


def rows_of_shares(*vectors: AnyVector) -> frozenset[str]:
    """Those of them that are a share, by hash, of the documents that a task is tested on: a sweep goes without them."""
    sources = [source for vector in vectors for source in _sources(vector)]
    return frozenset(row for source in sources if source.get("share") for row in _rows(source))


def _sources(vector: AnyVector) -> list[dict[str, Any]]:
    transfer = vector.transfer or {}
    passports = [vector.passport, *(parent.get("passport") or {} for parent in transfer.get("parents", ()))]
    seen = [*(passport.get("data") for passport in passports), transfer.get("texts")]
    return [source for source in seen if isinstance(source, dict)]


def _rows(source: dict[str, Any]) -> Iterator[str]:
    for some in (source.get(name) for name in _READ):
        yield from (row for row in some if isinstance(row, str)) if isinstance(some, list) else ()


def refuse_leaks(rows: frozenset[str], requests: Iterable[Any]) -> None:
    """Refuse requests of the harness whose documents are among `rows`, by column `row` or by hash (documents.py).

    Raises:
        SteeringError: with the count per task.
    """
    if not rows:
        return
    documents: dict[str, dict[int, Any]] = {}
    for request in requests:  # the options of a document are requests that hold one object
        documents.setdefault(request.task_name or "this task", {})[id(request.doc)] = request.doc
    for task, docs in documents.items():
        leaked = {row_of(doc): {row_of(doc), document_hash(doc)} & rows for doc in docs.values()}
        if count := sum(map(bool, leaked.values())):
            raise SteeringError(
                f"{count} of the {len(leaked)} documents of {task} are among the {len(rows)} rows that the "
                "vector was made from: evaluate on another split, or set allow_leak=True (the result file says so)"
            )
