"""How documents are parted by hash, so that no question is on two sides."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from typing import Any

from lm_eval_steer.models.documents import document_hash

SHARE = 0.3
"""Of the test documents, where they have to be parted."""
BY_SHARE = "share"
"""What `--val_split` and `--split` say for that."""


def split_by_hash(questions: Sequence[str], share: float, seed: int) -> tuple[list[int], list[int]]:
    """Places of the validation documents and of the others, each in order.

    Questions are gone through in the order of the sha256 of seed and question, and taken with all documents that ask
    them as long as validation has at most its share, rounded to the nearest number of documents.

    Args:
        questions: of the documents; equal ones go to one side.
        share: of the documents, between 0 and 1.
        seed: another one gives another order.
    """
    places: dict[str, list[int]] = {}
    for place, question in enumerate(questions):
        places.setdefault(question, []).append(place)
    wanted = round(share * len(questions))
    chosen: set[int] = set()
    for question in sorted(places, key=lambda one: hashlib.sha256(f"{seed}\n{one}".encode(errors="replace")).digest()):
        if len(chosen) + len(places[question]) <= wanted:
            chosen.update(places[question])
    return sorted(chosen), [place for place in range(len(questions)) if place not in chosen]


def way_to_ask(task: Any, documents: Sequence[Any]) -> Callable[[Any], str]:
    """From a document to what it asks, by which two documents are equal: its text; where that is the same for all of
    them, or none, its options; else all of it."""
    for way in (_text, _options):
        found = [way(task, doc) for doc in documents]
        if None not in found and len(set(found)) > 1:
            return lambda doc: way(task, doc) or document_hash(doc)
    return document_hash


def _text(task: Any, doc: Any) -> str | None:
    try:
        text = task.doc_to_text(doc)
    except Exception:  # of a template that another row's fields are not for; prompts are built from it later
        return None
    return " ".join(text.split()) if isinstance(text, str) else None


def _options(task: Any, doc: Any) -> str | None:
    try:
        return json.dumps(task.doc_to_choice(doc))
    except Exception:  # of a task without options
        return None
