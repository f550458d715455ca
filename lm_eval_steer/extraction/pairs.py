"""Contrast pairs: two texts that differ in the concept, from a task's extraction rows or from a file of the user's."""

from __future__ import annotations

import importlib.resources
import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from lm_eval.tasks import TaskManager
from lm_eval.utils import apply_template

from lm_eval_steer.errors import SteeringError


@dataclass(frozen=True)
class ContrastPair:
    """One pair of texts, as the parent reads them.

    Attributes:
        positive: the text that shows the concept.
        negative: the same text without it.
        row: hash of the row that the pair was made from; None for a user's own pairs.
    """

    positive: str
    negative: str
    row: str | None = None


def read_pairs(path: str | Path) -> list[ContrastPair]:
    """Read a JSONL file of {"positive": text, "negative": text}.

    Raises:
        SteeringError: names file and line.
    """
    path = Path(path)
    if not path.is_file():
        raise SteeringError(f"{path}: no such file of pairs")
    pairs = []
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        positive, negative = (row.get("positive"), row.get("negative")) if isinstance(row, dict) else (None, None)
        if not (isinstance(positive, str) and positive and isinstance(negative, str) and negative):
            raise SteeringError(
                f'{path}, line {number}: expected {{"positive": text, "negative": text}}, got {line[:60]!r}'
            )
        if positive == negative:
            raise SteeringError(f"{path}, line {number}: positive and negative are the same text")
        pairs.append(ContrastPair(positive, negative))
    return pairs


def pair_template(task: str, path: str | Path | None = None) -> dict[str, str]:
    """The template of a task's pairs, from pair_templates.yaml or from a file of the user's in the same form."""
    source: Any = importlib.resources.files("lm_eval_steer.extraction").joinpath("pair_templates.yaml")
    if path is not None:
        source = Path(path)
        if not source.is_file():
            raise SteeringError(f"{path}: no such file of pair templates")
    try:
        templates = yaml.safe_load(source.read_text(encoding="utf-8"))
    except yaml.YAMLError:
        templates = None
    template = templates.get(task) if isinstance(templates, dict) else None
    if template is None:
        raise SteeringError(
            f"there is no pair template for task {task!r} in {path or 'pair_templates.yaml'}, only for "
            f"{', '.join(templates) if isinstance(templates, dict) else 'none'}: use one of them or bring your own "
            "pairs with --pairs FILE"
        )
    if set(template) != {"positive", "negative"} or not all(isinstance(side, str) for side in template.values()):
        raise SteeringError(f"the pair template for {task} must have the texts `positive` and `negative`: {template!r}")
    return template


def load_task(name: str) -> Any:
    """A task of this package, by name; the harness's thousands of others are not scanned."""
    folder = str(importlib.resources.files("lm_eval_steer.tasks"))
    return TaskManager(include_path=folder, include_defaults=False).load([name])["tasks"][name]


def task_pairs(
    task: Any,
    template: dict[str, str],
    n: int,
    seed: int,
    render: Callable[[list[dict[str, str]]], str] | None,
    rationales: dict[str, str] | None = None,
) -> list[ContrastPair]:
    """Pairs from `n` extraction rows of a task, chosen by `seed`, zero-shot.

    Args:
        task: a task of the harness whose training split holds the extraction rows.
        template: `positive` and `negative`, completions as Jinja over the doc.
        n: how many pairs.
        seed: which rows.
        render: the parent's chat template, up to where its answer begins; None for plain text. No end-of-turn token
            follows the completion, so the last token read is the last one of the answer.
        rationales: reasoning by row hash or by the dataset's id, for the template's `rationale`; rows without are
            left out. Needed where the dataset has no reasoning of its own.
    """
    docs = list(task.training_docs())
    if rationales is not None:
        found = [(doc, rationales.get(doc["row"], rationales.get(str(doc.get("id"))))) for doc in docs]
        docs = [doc | {"rationale": rationale} for doc, rationale in found if rationale]
    elif any("rationale" in side for side in template.values()):
        raise SteeringError(
            f"{task.config.task} has no reasoning of its own: let a model write it with lm-eval-steer rationales, "
            "then extract with --rationales FILE"
        )
    if n > len(docs):
        kind = "extraction rows" if rationales is None else "extraction rows with a rationale"
        raise SteeringError(f"n={n} pairs, but {task.config.task} has {len(docs)} {kind}: use a smaller --n")
    pairs = []
    for index in sorted(random.Random(seed).sample(range(len(docs)), n)):
        doc = docs[index]
        system, question = task.config.description or "", task.doc_to_text(doc)
        if render is None:
            prompt = system + question + task.config.target_delimiter
        else:
            turns = [{"role": "system", "content": system}] if system else []
            prompt = render([*turns, {"role": "user", "content": question}])
        sides = {side: prompt + apply_template(text, doc) for side, text in template.items()}
        pairs.append(ContrastPair(sides["positive"], sides["negative"], row=doc["row"]))
    return pairs
