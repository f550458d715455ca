"""The texts on which a sweep measures what steering costs: extraction rows of a task, or a file of the user's."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lm_eval.tasks import TaskManager

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.files import is_file, json_lines, read_text
from lm_eval_steer.models.documents import document_hash, row_of
from lm_eval_steer.sweep.tasks import load
from lm_eval_steer.tasks.splits import by_lot
from lm_eval_steer.text import nearest, shortened
from lm_eval_steer.transfer.held import holding

ROWS = 64
"""How many rows of a task."""

LEAST = 2
"""Words of a text that can be cut in half, and texts of which an interval can be made."""

_LOT = 0
"""Draws the rows: the same in every sweep, so that costs can be compared."""


@dataclass(frozen=True)
class CostTexts:
    """What is scored.

    Attributes:
        source: name of the task, or of the file.
        pairs: of each text, its first half, up to the end of a word, and the rest.
    """

    source: str
    pairs: tuple[tuple[str, str], ...]

    @property
    def settings(self) -> dict[str, Any]:
        """What settings of a sweep say of them, JSON-ready."""
        sha256 = hashlib.sha256(json.dumps(self.pairs).encode()).hexdigest()
        return {"texts": self.source, "n": len(self.pairs), "sha256": sha256}


def find_cost_texts(given: str, manager: TaskManager, tasks: Mapping[str, Any]) -> CostTexts:
    """The texts that --cost names, without any that a document of the sweep's own tasks asks.

    Args:
        given: a task with extraction rows (a training split), or a JSONL file of {"text": ...}.
        manager: of the tasks.
        tasks: of the sweep, those of validation documents among them: name -> task, loaded.

    Raises:
        SteeringError: for a task or a file that is not there or has no such texts, fewer than two of them, and for
            texts of a file that hold a question of these tasks.
    """
    documents = [(task, doc) for task in tasks.values() for doc in _documents(task)]
    questions = [str(task.doc_to_text(doc)) for task, doc in documents]
    if given.endswith(".jsonl") or is_file(given):
        texts = _read_file(given)
        if count := sum(holding(texts, questions)):
            raise SteeringError(
                f"--cost {shortened(given)}: {count} of its {len(texts)} texts hold a question of {', '.join(tasks)}, "
                "and are not unrelated to what is tested: leave them out"
            )
        source = Path(given).name
    else:
        rows = {row for _, doc in documents for row in (row_of(doc), document_hash(doc))}
        texts, source = _read_rows(given, manager, rows, questions), given
    if len(texts) < LEAST:
        raise SteeringError(f"--cost {shortened(given)} has {len(texts)} texts of {LEAST} words or more: name others")
    return CostTexts(source, tuple(map(halve, texts)))


def halve(text: str) -> tuple[str, str]:
    """A text of two words or more, cut behind the first half of them; the rest begins with the white space."""
    words = list(re.finditer(r"\S+", text))
    end = words[len(words) // 2 - 1].end()
    return text[:end], text[end:]


def _read_rows(name: str, manager: TaskManager, rows: set[str], questions: Sequence[str]) -> list[str]:
    """What a task asks in extraction rows that no swept document is or asks, `ROWS` of them."""
    if name not in manager.all_subtasks:
        raise SteeringError(
            f"--cost {shortened(name)} is no task{nearest(name, manager.all_subtasks)} and no file: name a task with "
            "extraction rows, or a file of texts as .jsonl"
        )
    task = load(name, manager)
    if not task.has_training_docs():
        raise SteeringError(f"--cost {name} has no extraction rows (training split): name another task, or a file")
    docs = {row_of(doc): doc for doc in task.training_docs() if not {row_of(doc), document_hash(doc)} & rows}
    asked = (str(task.doc_to_text(docs[row])).strip() for row in by_lot(docs, _LOT))
    texts = list(dict.fromkeys(filter(_is_long, asked)))
    return [text for text, is_known in zip(texts, holding(texts, questions), strict=True) if not is_known][:ROWS]


def _read_file(file: str) -> list[str]:
    """The texts of a file, each once."""
    found: dict[str, None] = {}
    for number, line, row in json_lines(read_text(file, "texts")):
        text = row.get("text")
        if not isinstance(text, str) or not _is_long(text):
            raise SteeringError(
                f'--cost {shortened(file)}, line {number}: expected {{"text": text}} of {LEAST} words or more, got '
                f"{line[:60]!r}"
            )
        found[text.strip()] = None
    return list(found)


def _is_long(text: str) -> bool:
    return len(text.split()) >= LEAST


def _documents(task: Any) -> list[Any]:
    """All documents that a task asks."""
    return [doc for _, doc in task.doc_iterator(rank=0, limit=None, world_size=1)]
