"""By which hash a document of a task is known, to passports and to the check for leaks."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

_COLUMN = "row"
_DIGITS = 16


def row_of(doc: Any) -> str:
    """What a passport calls a document: its column `row` where tasks/splits.py put a hash there, else its own hash."""
    row = doc.get(_COLUMN) if isinstance(doc, Mapping) else None
    return row if isinstance(row, str) and row else document_hash(doc)


def document_hash(doc: Any) -> str:
    """The first 16 hex digits of the sha256 of a document as JSON, keys sorted and the column `row` left out.

    So a document has one hash in every task that reads it from the same dataset without changing it.
    """
    content = {key: value for key, value in doc.items() if key != _COLUMN} if isinstance(doc, Mapping) else doc
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:_DIGITS]
