"""Documents and responses as the browser reads them: JSON, gzipped, in base64, a block per row and one per view.

Identical texts of a block are there once; a response that equals the baseline's is a reference to it.
"""

from __future__ import annotations

import base64
import gzip
import json
import os
from collections.abc import Mapping
from typing import Any

from tqdm import tqdm

from lm_eval_steer.compare.arms import OTHER
from lm_eval_steer.compare.responses import Responses, View
from lm_eval_steer.compare.samples import Document
from lm_eval_steer.compare.scores import Response
from lm_eval_steer.interventions.controls import kind_of
from lm_eval_steer.report.page.words import name_row

BASELINE = -1
"""Stands for the text of the baseline's response."""

_QUESTIONS = ("question", "problem", "query", "goal", "ctx", "premise", "sentence", "passage", "input", "text")
_OPTIONS = ("options", "choices")


def make_blocks(rows: list[Responses], names: Mapping[str, str]) -> tuple[dict[str, Any], list[str]]:
    """The index of the sample browser, and the blocks that it names by number."""
    index: list[dict[str, Any]] = []
    blocks: list[str] = []
    for one in tqdm(rows, desc="samples", unit="row", delay=2, leave=False, disable=None):
        views = [_describe(view, one) for view in one.views]
        for content in (_documents(one), *(_cells(one, view) for view in one.views)):
            blocks.append(pack(content))
        first = len(blocks) - len(views)
        entry = {"name": " · ".join(name_row(one.row, names)), "higher": one.row.any_run.higher_is_better}
        numbered = [view | {"block": number} for number, view in enumerate(views, first)]
        index.append(entry | {"block": first - 1, "views": numbered})
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
        options = "\n".join(map(str, options))
    return f"{asked}\n{options}" if asked and isinstance(options, str) else asked or prompt


def _describe(view: View, responses: Responses) -> dict[str, Any]:
    sampled = kind_of(view.control).draws
    is_other = OTHER.fullmatch(view.control) is not None
    sign = "dose" if responses.row.unit == "dose" else "α ="

    def label(name: str, alpha: float | None) -> str:
        if is_other:
            return view.control
        if sampled:
            return f"Sample {int(name) + 1}"
        return "a strength per block" if alpha is None else f"{sign} {name}"

    return {
        "name": view.control or "the vector",
        "strengths": view.names,
        "labels": list(map(label, view.names, view.alphas)),
        "prefix": "" if sampled or is_other else "Steered, ",
        "best": view.best,
        "vote": view.votes,
        "binary": responses.is_binary,
    }


def _documents(responses: Responses) -> dict[str, Any]:
    prompts = [one.prompt for one in responses.documents]
    # Instructions and examples that all questions begin with.
    shared = os.path.commonprefix(prompts) if len(prompts) > 1 else ""  # noqa: RUF071  # by characters, not folders
    documents = [
        {
            "number": one.number,
            "question": question(one.content, one.prompt[len(shared) :]),
            "target": one.target,
            "fields": _fields(one),
            "prompt": one.prompt[len(shared) :],
        }
        for one in responses.documents
    ]
    baseline = [_response(one, one.text if one else "") for one in responses.baseline]
    return {"shared": shared, "documents": documents, "baseline": baseline}


def _cells(responses: Responses, view: View) -> dict[str, Any]:
    texts: dict[str, int] = {}

    def refer(one: Response | None, baseline: Response | None) -> list[Any] | None:
        same = one is None or (baseline is not None and baseline.text == one.text)
        return _response(one, BASELINE if same else texts.setdefault(one.text, len(texts)))  # type: ignore[union-attr]

    cells = [[refer(one, base) for one in line] for line, base in zip(view.cells, responses.baseline, strict=True)]
    voted = [refer(one, base) for one, base in zip(view.voted or [], responses.baseline, strict=False)]
    return {"texts": list(texts), "cells": cells, "voted": voted}


def _response(one: Response | None, text: str | int) -> list[Any] | None:
    """[text or its place, answer, score, tokens]."""
    return [text, one.answer, one.score, one.tokens] if one else None


def _fields(document: Document) -> list[list[str]]:
    content = document.content if isinstance(document.content, dict) else {}
    return [
        [str(key), value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)]
        for key, value in content.items()
    ]
