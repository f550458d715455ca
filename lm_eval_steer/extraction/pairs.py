"""Contrast pairs: two texts that differ in the concept, from a task's extraction rows or from a file of the user's."""

from __future__ import annotations

import importlib.resources
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lm_eval.tasks import TaskManager

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.extraction.asking import Prompts, Render, of_gold
from lm_eval_steer.extraction.templates import complete, pair_template
from lm_eval_steer.files import json_lines, read_text
from lm_eval_steer.models.documents import row_of

__all__ = [
    "ContrastPair",
    "candidates",
    "in_order",
    "load_task",
    "own_manager",
    "pair_template",
    "read_pairs",
    "task_files",
]


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
    pairs = []
    for number, line, row in json_lines(read_text(path, "pairs")):
        positive, negative = row.get("positive"), row.get("negative")
        if not (isinstance(positive, str) and positive and isinstance(negative, str) and negative):
            raise SteeringError(
                f'{path}, line {number}: expected {{"positive": text, "negative": text}}, got {line[:60]!r}'
            )
        if positive == negative:
            raise SteeringError(f"{path}, line {number}: positive and negative are the same text")
        pairs.append(ContrastPair(positive, negative))
    return pairs


def load_task(name: str) -> Any:
    """A task of this package, by name; the harness's thousands of others are not scanned.

    Raises:
        SteeringError: where there is no such task.
    """
    manager = own_manager()
    if name not in manager.all_subtasks:
        known = ", ".join(sorted(manager.all_subtasks))
        raise SteeringError(f"there is no task {name!r} with extraction rows: use one of {known}")
    return manager.load([name])["tasks"][name]


def task_files() -> dict[str, dict[str, Any]]:
    """What the YAML file of each task of this package says, its functions as text."""
    manager = own_manager()
    return {name: manager.task_index[name].cfg or {} for name in manager.all_subtasks}


def own_manager() -> TaskManager:
    """Of the tasks of this package."""
    folder = str(importlib.resources.files("lm_eval_steer.tasks"))
    return TaskManager(include_path=folder, include_defaults=False)


def candidates(
    task: Any,
    template: dict[str, str],
    n: int,
    seed: int,
    render: Render | None,
    rationales: dict[str, str] | None = None,
    docs: Sequence[Any] | None = None,
    shots: Sequence[Any] = (),
) -> Iterator[ContrastPair]:
    """The pairs of `n` extraction rows, in the order of the rows, then those of the others, which may take their place.

    Args:
        task: a task of the harness.
        template: `positive` and `negative`, completions as Jinja over the doc.
        n: how many pairs.
        seed: which rows.
        render: the parent's chat template, up to where its answer begins; None for plain text. No end-of-turn token
            follows the completion, so the last token read is the last one of the answer.
        rationales: reasoning by row hash or by the dataset's id, for the template's `rationale`; rows without are
            left out. Needed where the dataset has no reasoning of its own.
        docs: the rows; None for those of the task's training split.
        shots: examples before every prompt; rows that are among them are left out.

    Raises:
        SteeringError: for too few rows, and for a template that does not fit them.
    """
    if docs is None:
        if not task.has_training_docs():
            raise SteeringError(f"{task.config.task} has no extraction rows: name a task that has some")
        docs = list(task.training_docs())
    added: dict[str, dict[str, str]] = {}
    if rationales is not None:
        found = [(doc, rationales.get(row_of(doc), rationales.get(str(doc.get("id"))))) for doc in docs]
        added = {row_of(doc): {"rationale": rationale} for doc, rationale in found if rationale}
        docs = [doc for doc, rationale in found if rationale]
    elif any("rationale" in side for side in template.values()):
        raise SteeringError(
            f"{task.config.task} has no reasoning of its own: let a model write it with lm-eval-steer rationales, "
            "then extract with --rationales FILE"
        )
    if shots:
        examples = {row_of(doc) for doc in shots}
        docs = [doc for doc in docs if row_of(doc) not in examples]
    if n > len(docs):
        kind = "extraction rows" if rationales is None else "extraction rows with a rationale"
        raise SteeringError(f"n={n} pairs, but {task.config.task} has {len(docs)} {kind}: use a smaller --n")
    prompts = Prompts(task, render, shots)
    for index in in_order(len(docs), n, seed):
        doc, row = docs[index], row_of(docs[index])
        prompt = of_gold(task, doc, prompts(doc)) + (task.config.target_delimiter if render is None else "")
        what = f"the pair template for {task.config.task}"
        filled = doc | added.get(row, {})
        sides = {side: prompt + complete(text, filled, f"`{side}` of {what}") for side, text in template.items()}
        yield ContrastPair(sides["positive"], sides["negative"], row)


def in_order(count: int, n: int, seed: int) -> list[int]:
    """Numbers of `n` of `count` documents that `seed` draws, ascending, then the others in a drawn order."""
    first = sorted(random.Random(seed).sample(range(count), min(n, count)))
    others = sorted(set(range(count)) - set(first))
    random.Random(seed).shuffle(others)
    return [*first, *others]
