"""Rows that no map may be fitted on: those of validation, test and few-shot splits of any task of this package."""

from __future__ import annotations

import importlib.resources
import logging
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.extraction.pairs import load_task, task_files
from lm_eval_steer.tasks.splits import Manifest

logger = logging.getLogger(f"lm_eval.{__name__}")

_OPEN = "extraction"
"""The split that may be read."""
_FIELD = re.compile(r"(?:.*?\{\{\s*)?(\w+)", re.DOTALL)
"""The question's field in what a task asks: a template, whose first field it is, or its bare name."""
_LEAD = 24
"""Characters of a question by which it is looked for; a shorter one (`Planets orbit`) is looked for as a whole text."""


def held_hashes() -> frozenset[str]:
    """Hashes of the rows that manifests hold for validation and test."""
    folder = Path(str(importlib.resources.files("lm_eval_steer.tasks")))
    manifests = (Manifest.read(path) for path in sorted(folder.glob("*/manifest.json")))
    return frozenset(row for one in manifests for name, rows in one.splits.items() if name != _OPEN for row in rows)


def hashes_of(task: Any) -> frozenset[str]:
    """Hashes of the rows of a loaded task that are not for extraction, few-shot rows among them."""
    return frozenset(row for name, rows in task.dataset.items() if name != _OPEN for row in rows["row"])


def held_questions() -> frozenset[str]:
    """The questions of all rows that are held, whitespace runs as one space.

    Those of a dataset that is not on this machine and cannot be brought are left out, which is told in a warning.
    """
    found: set[str] = set()
    seen: set[str] = set()
    for name, config in task_files().items():
        field = _FIELD.match(str(config.get("doc_to_text")))
        samples = (config.get("fewshot_config") or {}).get("samples")
        rows = [*samples] if isinstance(samples, list) else []
        if field is None:
            continue
        if (source := str(config.get("custom_dataset"))) not in seen:
            seen.add(source)
            rows += _rows_of(name)
        found |= {_plain(row[field[1]]) for row in rows if isinstance(row.get(field[1]), str)}
    return frozenset(found - {""})


def _rows_of(task: str) -> list[Mapping[str, Any]]:
    try:
        dataset = load_task(task).dataset
    except SteeringError as error:
        logger.warning("Texts are not compared with the rows of %s, which are not here: %s", task, error)
        return []
    return [row for name, rows in dataset.items() if name != _OPEN for row in rows]


def count_holding(texts: Iterable[str], questions: Iterable[str]) -> int:
    """How many texts contain one of the questions, or are one that is so short that any text may contain it."""
    return sum(holding(texts, questions))


def holding(texts: Iterable[str], questions: Iterable[str]) -> list[bool]:
    """Which texts do; white space runs of both count as one space.

    Args:
        texts: as they stand.
        questions: likewise.
    """
    leads: dict[str, list[str]] = {}
    for question in map(_plain, questions):
        leads.setdefault(question[:_LEAD], []).append(question)
    return [_holds(_plain(text), leads) for text in texts]


def _holds(text: str, leads: dict[str, list[str]]) -> bool:
    return text in leads or any(
        text.startswith(question, place)
        for place in range(len(text) - _LEAD + 1)
        for question in leads.get(text[place : place + _LEAD], ())
    )


def _plain(text: str) -> str:
    return " ".join(text.split())
