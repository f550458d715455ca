"""The texts that parent and child both read: questions of extraction rows, or a file of the user's."""

from __future__ import annotations

import hashlib
import json
import random
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.extraction.pairs import load_task
from lm_eval_steer.files import decode, json_lines, read_bytes
from lm_eval_steer.tasks.splits import by_lot, row_hash
from lm_eval_steer.text import shortened
from lm_eval_steer.transfer.defaults import TEXTS
from lm_eval_steer.transfer.held import count_holding, hashes_of, held_hashes, held_questions

CUT = (6, 40)
"""Words behind which a question is cut, so that texts end in the midst of all kinds of sentences."""


@dataclass(frozen=True)
class Texts:
    """What is read.

    Attributes:
        texts: in the order in which they are numbered, from 0.
        hashes: of the row that each was made from; of a file's text its own, as tasks/splits.py hashes a row.
        source: what the passport says of them: {"source": "task", "tasks", "n", "cut", "seed"} or {"source": "file",
            "name", "sha256", "n"}.
    """

    texts: tuple[str, ...]
    hashes: tuple[str, ...]
    source: dict[str, Any]

    @property
    def sha256(self) -> str:
        """SHA-256 of the texts in their order."""
        return hashlib.sha256(json.dumps(self.texts).encode()).hexdigest()


def find_texts(task: str | None, file: str | None, n: int | None, seed: int, allow_leak: bool = False) -> Texts:
    """The texts to fit a map on.

    Args:
        task: names of tasks of this package, parted by commas, whose extraction rows give their questions, drawn by
            `seed` and each cut behind one of its words.
        file: a JSONL file of {"text": ...} instead, whose texts are read as they stand; those that differ in white
            space alone count once.
        n: how many; None takes 1,400, or all where there are fewer. Of a file, the first.
        seed: chooses rows, and where they are cut.
        allow_leak: take texts that a validation, test or few-shot split holds.

    Raises:
        SteeringError: for neither or both sources, a file that is not what it should be, fewer texts than `n`, and for
            texts that are held (with their count).
    """
    if (task is None) == (file is None):
        both = f"--task {task} and --texts {file} are both given" if task is not None else "there are no texts to read"
        raise SteeringError(f"{both}: name either a --task or a file of --texts")
    if n is not None and n < 1:
        raise SteeringError(f"n={n} texts is not positive")
    if seed < 0:
        raise SteeringError(f"seed={seed} is negative: use a whole number from 0 on")
    if task is not None:
        return _of_tasks([name.strip() for name in task.split(",")], n, seed, allow_leak)
    assert file is not None
    return _of_file(file, n, allow_leak)


def _of_tasks(names: list[str], n: int | None, seed: int, allow_leak: bool) -> Texts:
    docs: dict[str, tuple[Any, Any]] = {}
    held = set(held_hashes())
    for name in names:
        task = load_task(name)
        if not task.has_training_docs():
            raise SteeringError(f"{name} has no extraction rows: name a task that has some")
        held |= hashes_of(task)
        docs |= {doc["row"]: (task, doc) for doc in task.training_docs()}
    chosen: dict[str, str] = {}
    for row in by_lot(docs, seed):  # rows whose beginnings are alike count once
        if len(chosen) == (n or TEXTS):
            break
        chosen.setdefault(_cut(_question(*docs[row]), seed, row), row)
    if len(chosen) < (n or 1):
        raise SteeringError(
            f"n={n} texts, but {', '.join(names)} has {len(chosen)} extraction rows whose texts differ: use a smaller "
            "--n, or more tasks"
        )
    texts, rows = tuple(chosen), tuple(chosen.values())
    if not allow_leak:
        _refuse_held(len(held.intersection(rows)), len(rows))
    return Texts(texts, rows, {"source": "task", "tasks": names, "n": len(rows), "cut": [*CUT], "seed": seed})


def _question(task: Any, doc: Any) -> str:
    question = task.doc_to_text(doc)
    if not isinstance(question, str) or not question.strip():
        raise SteeringError(f"row {doc['row']} of {task.config.task} has no question as text: name another task")
    return question.strip()


def _cut(text: str, seed: int, row: str) -> str:
    """A text up to the end of a word; which one depends on seed and row alone, so that it is the same for every n."""
    words = list(re.finditer(r"\S+", text))
    wanted = random.Random(f"{seed}:{row}").randint(*CUT)
    return text[: words[wanted - 1].end()] if wanted < len(words) else text


def _of_file(file: str, n: int | None, allow_leak: bool) -> Texts:
    raw = read_bytes(file, "texts")
    found: dict[str, str] = {}  # texts that are alike count once: what is held out must not be among those of the fit
    for number, line, row in json_lines(decode(raw, shortened(file))):
        text = row.get("text")
        if not isinstance(text, str) or not text.strip():
            raise SteeringError(f'{shortened(file)}, line {number}: expected {{"text": text}}, got {line[:60]!r}')
        found.setdefault(row_hash({"text": text}, ("text",)), text)
    if not found:
        raise SteeringError(f'{shortened(file)} holds no texts: give it lines of {{"text": ...}}')
    if len(found) < (n or 1):
        raise SteeringError(f"n={n} texts, but {shortened(file)} holds {len(found)} that differ: use a smaller --n")
    texts, hashes = (tuple(one)[: n or TEXTS] for one in (found.values(), found))
    if not allow_leak:
        by_hash = set(hashes) & held_hashes()
        others = [text for text, row in zip(texts, hashes, strict=True) if row not in by_hash]
        _refuse_held(len(texts) - len(others) + count_holding(others, held_questions()), len(texts))
    sha256 = hashlib.sha256(raw).hexdigest()
    return Texts(texts, hashes, {"source": "file", "name": Path(file).name, "sha256": sha256, "n": len(texts)})


def _refuse_held(count: int, n: int) -> None:
    if count:
        raise SteeringError(
            f"{count} of the {n} texts are rows that a validation, test or few-shot split holds: take other texts, or "
            "set --allow_leak (the vector's passport says so)"
        )
