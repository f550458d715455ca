"""Rows that a vector was made from must not be among the documents that it is judged on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.models.documents import document_hash, row_of
from lm_eval_steer.vectors.vector import SteeringVector

_READ = ("rows", "shots")
"""What a passport lists the hashes of: documents that made pairs, and examples that stood before them."""


def extraction_rows(vector: SteeringVector | None) -> frozenset[str]:
    """Hashes of the rows that the passport says the vector saw, in its pairs, in the examples before them and in the
    texts that it was transferred with, and other parents in theirs; empty for a user's own."""
    if vector is None:
        return frozenset()
    transfer = vector.transfer or {}
    passports = [vector.passport, *(parent.get("passport") or {} for parent in transfer.get("parents", ()))]
    seen = [*(passport.get("data") for passport in passports), transfer.get("texts")]
    rows = (source.get(name) for source in seen if isinstance(source, dict) for name in _READ)
    return frozenset(row for some in rows if isinstance(some, list) for row in some if isinstance(row, str))


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
