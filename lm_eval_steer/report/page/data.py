"""Documents and responses as the browser reads them: JSON, gzipped, in base64, a block per row and one per view.

Identical texts of a block are there once; a response that equals the baseline's is a reference to it.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Mapping
from typing import Any

from tqdm import tqdm

from lm_eval_steer.compare.responses import Responses, View
from lm_eval_steer.compare.rows import Row
from lm_eval_steer.compare.runs import Document
from lm_eval_steer.compare.scores import Response
from lm_eval_steer.report.tables.entries import short
from lm_eval_steer.report.tables.flat import strength

BASELINE = -1
"""Stands for the text of the baseline's response."""

_QUESTIONS = ("question", "problem", "query", "goal", "ctx", "premise", "sentence", "passage", "input", "text")
_OPTIONS = ("options", "choices")

Texts = dict[str, int]
"""Text -> its place in a block."""


def make_blocks(found: list[Responses], names: Mapping[str, str]) -> tuple[dict[str, Any], list[str]]:
    """The index of the sample browser, and the blocks that it names by number."""
    index: list[dict[str, Any]] = []
    blocks: list[str] = []
    shown = tqdm(found, desc="samples", unit="row", delay=2, leave=False, disable=None)
    for responses in shown:
        entry: dict[str, Any] = {"name": _row_name(responses.row, names), "block": len(blocks), "views": []}
        entry |= {"higher": responses.row.any_run.higher_is_better, "record": responses.has_record}
        blocks.append(pack(_documents(responses)))
        for view in responses.views:
            entry["views"].append(_view_index(view, responses.row.unit) | {"block": len(blocks)})
            blocks.append(pack(_cells(responses, view)))
        index.append(entry)
    return {"rows": index}, blocks


def pack(content: Any) -> str:
    """JSON, gzipped, in base64; the same content is the same text."""
    raw = json.dumps(content, separators=(",", ":"), allow_nan=False).encode("ascii")
    return base64.b64encode(gzip.compress(raw, 6, mtime=0)).decode("ascii")


def embed(content: Any) -> str:
    """JSON that may stand within a script element: nothing in it ends the element or a line of JavaScript."""
    text = json.dumps(content, separators=(",", ":"), allow_nan=False)  # ASCII: U+2028 and the like are escaped
    for char in "<>&":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text


def question(content: Any, prompt: str) -> str:
    """What a person reads as the question of a document: a field of a usual name with its options, else the prompt."""
    if not isinstance(content, dict):
        return content if isinstance(content, str) else prompt
    asked = next((content[key] for key in _QUESTIONS if isinstance(content.get(key), str) and content[key]), "")
    options = next((content[key] for key in _OPTIONS if content.get(key)), None)
    if isinstance(options, dict):
        options = options.get("text")
    if isinstance(options, list):
        options = "\n".join(str(one) for one in options)
    if asked and isinstance(options, str):
        return f"{asked}\n{options}"
    return asked or prompt


def _row_name(row: Row, names: Mapping[str, str]) -> str:
    parts = [row.group.name, short(row.child, names), *([row.vector] if row.vector != "-" else [])]
    if not row.is_sweep and row.main:
        run = row.runs[row.main]
        parts.append(row.main if len(run.alphas) > 1 else strength(run))
    return " · ".join(parts)


def _view_index(view: View, unit: str) -> dict[str, Any]:
    return {
        "vote": view.votes,
        "binary": view.is_binary,
        "name": view.control or "the vector",
        "strengths": view.names,
        "kind": "sample" if view.control == "self-consistency" else unit,
        "best": view.best,
    }


def _documents(responses: Responses) -> dict[str, Any]:
    shared = _common_beginning([one.prompt for one in responses.documents])
    return {
        "shared": shared,
        "documents": [
            {
                "number": one.number,
                "question": question(one.content, one.prompt[len(shared) :]),
                "target": one.target,
                "fields": _fields(one),
                "prompt": one.prompt[len(shared) :],
            }
            for one in responses.documents
        ],
        "baseline": [_answer(answer, answer.text if answer else "") for answer in responses.baseline],
    }


def _common_beginning(texts: list[str]) -> str:
    """Of all texts: the instructions and examples before each question; empty for a single text."""
    first, last = min(texts), max(texts)
    if len(texts) == 1:
        return ""
    end = next((place for place, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
    return first[:end]


def _cells(responses: Responses, view: View) -> dict[str, Any]:
    texts: Texts = {}
    cells, voted = [], []
    for place, baseline in enumerate(responses.baseline):
        cells.append([_answer(cell, _place(cell, baseline, texts)) for cell in view.cells[place]])
        if view.voted:
            vote = view.voted[place]
            voted.append(_answer(vote, _place(vote, baseline, texts)))
    return {"texts": list(texts), "cells": cells, "voted": voted}


def _place(answer: Response | None, baseline: Response | None, texts: Texts) -> int:
    if answer is None or (baseline and baseline.text == answer.text):
        return BASELINE
    return texts.setdefault(answer.text, len(texts))


def _answer(answer: Response | None, text: str | int) -> list[Any] | None:
    """[text or its place, answer, score, tokens]."""
    return [text, answer.answer, answer.score, answer.tokens] if answer else None


def _fields(document: Document) -> list[list[str]]:
    content = document.content
    if not isinstance(content, dict):
        return []
    return [
        [str(key), value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)]
        for key, value in content.items()
    ]
