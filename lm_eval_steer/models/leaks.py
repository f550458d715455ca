"""Rows that a vector was made from must not be among the documents that it is judged on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.vectors.vector import SteeringVector


def extraction_rows(vector: SteeringVector | None) -> frozenset[str]:
    """Hashes of the rows that the passport says the vector saw, in its pairs and in the texts that it was transferred
    with, and other parents in theirs; empty for a user's own."""
    if vector is None:
        return frozenset()
    transfer = vector.transfer or {}
    passports = [vector.passport, *(parent.get("passport") or {} for parent in transfer.get("parents", ()))]
    seen = [*(passport.get("data") for passport in passports), transfer.get("texts")]
    rows = (source.get("rows") for source in seen if isinstance(source, dict))
    return frozenset(row for some in rows if isinstance(some, list) for row in some if isinstance(row, str))


def refuse_leaks(rows: frozenset[str], requests: Iterable[Any]) -> None:
    """Refuse requests of the harness whose documents (column `row`, tasks/splits.py) are among `rows`.

    Raises:
        SteeringError: with the count per task.
    """
    asked: dict[str, set[str]] = {}
    for request in requests:
        row = request.doc.get("row") if isinstance(request.doc, dict) else None
        if row is not None:
            asked.setdefault(request.task_name or "this task", set()).add(row)
    for task, documents in asked.items():
        if leaked := documents & rows:
            raise SteeringError(
                f"{len(leaked)} of the {len(documents)} documents of {task} are among the {len(rows)} rows that the "
                "vector was made from: evaluate on another split, or set allow_leak=True (the result file says so)"
            )
