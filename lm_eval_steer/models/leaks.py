"""Rows that a vector was extracted from must not be among the documents that it is judged on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.vectors.vector import SteeringVector


def extraction_rows(vector: SteeringVector | None) -> frozenset[str]:
    """Hashes of the rows that the passport says the vector saw; empty for a user's own pairs."""
    data = vector.passport.get("data") if vector else None
    rows = data.get("rows") if isinstance(data, dict) else None
    return frozenset(row for row in rows or () if isinstance(row, str))


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
                "vector was extracted from: evaluate on another split, or set allow_leak=True (the result file says so)"
            )
