"""Reasoning for a dataset that has none: a model writes it, given the right answer (paper: Gemini, for ARC).

The file is JSONL, one attempt a line: {"row", "rationale", "kept", "response"}. It grows by batches that are flushed to
disk, so a run that was killed goes on where it stopped.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.utils import apply_template
from tqdm import tqdm

from lm_eval_steer.errors import SteeringError


@dataclass(frozen=True)
class RationaleArgs:
    """What `lm-eval-steer rationales` was asked for.

    Attributes:
        task: whose extraction rows need reasoning.
        out: the file to write or to go on with.
        n: how many extraction rows to ask for.
        seed: which rows.
        batch_size: requests between two writes to disk.
        max_gen_toks: limit of one rationale.
        apply_chat_template: ask through the model's chat template.
    """

    task: str
    out: str
    n: int = 160
    seed: int = 0
    batch_size: int = 8
    max_gen_toks: int = 512
    apply_chat_template: bool = False

    def __post_init__(self) -> None:
        for name in ("n", "batch_size", "max_gen_toks"):
            if getattr(self, name) < 1:
                raise SteeringError(f"{name}={getattr(self, name)} is not positive")


# The doc's own question and answer, then what is asked for. The answer is given; what is wanted is the way to it.
REQUEST = (
    "{question}\n\n{answer}\n\nThat is the right answer. Explain step by step, as the instructions say, why it is "
    "right, and end with the answer in the format that the instructions ask for."
)


def write_rationales(args: RationaleArgs, task: Any, model: Any, answer_template: str) -> tuple[int, int]:
    """Ask `model` (any LM of the harness) for the reasoning of the task's extraction rows.

    A response is kept when the task itself scores it as right.

    Args:
        args: see RationaleArgs.
        task: a task of the harness.
        model: an LM of the harness.
        answer_template: the bare answer, as Jinja over the doc (`negative` of the pair template).

    Returns:
        attempts in the file, and how many of them are kept.
    """
    docs = task.training_docs()
    if args.n > len(docs):
        raise SteeringError(f"n={args.n} rows, but {args.task} has {len(docs)} extraction rows: use a smaller --n")
    chosen = [docs[i] for i in sorted(random.Random(args.seed).sample(range(len(docs)), args.n))]
    path = Path(args.out)
    done = {attempt["row"]: attempt for attempt in _read_lines(path)} if path.exists() else {}
    left = [doc for doc in chosen if doc["row"] not in done]
    path.parent.mkdir(parents=True, exist_ok=True)
    _cut_half_line(path)
    with path.open("a", encoding="utf-8") as file, tqdm(total=len(chosen), desc="Asking for rationales") as progress:
        progress.update(len(chosen) - len(left))
        for start in range(0, len(left), args.batch_size):
            batch = left[start : start + args.batch_size]
            requests = [_request(args, task, model, doc, answer_template, i) for i, doc in enumerate(batch)]
            for doc, request, response in zip(batch, requests, model.generate_until(requests), strict=True):
                kept = _is_right(task, doc, request, response)
                attempt = {
                    "row": doc["row"],
                    "rationale": _without_answer(response),
                    "kept": kept,
                    "response": response,
                }
                done[doc["row"]] = attempt
                file.write(json.dumps(attempt, ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
            progress.update(len(batch))
    return len(done), sum(bool(attempt["kept"]) for attempt in done.values())


def read_rationales(path: str | Path) -> dict[str, str]:
    """Row hash, or the dataset's own id, to rationale.

    Takes what `write_rationales` wrote, or a user's own JSONL of {"row" or "id", "rationale"}; lines with
    `"kept": false` are left out.

    Raises:
        SteeringError: names file and line.
    """
    path = Path(path)
    if not path.is_file():
        raise SteeringError(f"{path}: no such file of rationales; make it with lm-eval-steer rationales")
    return {
        str(line.get("row", line.get("id"))): line["rationale"]
        for line in _read_lines(path)
        if line.get("kept", True) and line["rationale"].strip()
    }


def _read_lines(path: Path) -> Iterator[dict[str, Any]]:
    lines = path.read_text(encoding="utf-8").split("\n")
    for number, text in enumerate(lines, start=1):
        if not text.strip():
            continue
        try:
            line = json.loads(text)
            whole = isinstance(line["rationale"], str) and isinstance(line.get("row", line.get("id")), str)
        except (ValueError, KeyError, TypeError, AttributeError):
            whole = False
        if whole:
            yield line
        elif number < len(lines):  # the last line may be half-written: the run that wrote it was killed
            raise SteeringError(f'{path}, line {number}: expected {{"row": ..., "rationale": ...}}, got {text[:60]!r}')


def _cut_half_line(path: Path) -> None:
    """Take away what a killed run left behind its last line feed, so that the next line begins on its own."""
    if path.exists():
        whole = path.read_bytes()
        os.truncate(path, whole.rfind(b"\n") + 1)


def _request(args: RationaleArgs, task: Any, model: Any, doc: Any, answer: str, index: int) -> Instance:
    system = (task.config.description or "").strip()
    text = REQUEST.format(question=task.doc_to_text(doc), answer=apply_template(answer, doc))
    if args.apply_chat_template:
        turns = [{"role": "system", "content": system}] if system else []
        prompt = model.apply_chat_template([*turns, {"role": "user", "content": text}])
    else:
        prompt = f"{system}\n\n{text}\n\n"
    settings = {"do_sample": False, "max_gen_toks": args.max_gen_toks, "until": task.config.generation_kwargs["until"]}
    return Instance("generate_until", dict(doc), (prompt, settings), index, (args.task, index, 1))


def _is_right(task: Any, doc: Any, request: Instance, response: str) -> bool:
    """Whether the task scores the response as right, by its first filter and its first metric."""
    request.resps = [response]
    pipeline = task._filters[0]
    pipeline.apply([request])
    metrics = task.process_results(doc, [request.filtered_resps[pipeline.name]])
    return float(next(iter(metrics.values()))) == 1


def _without_answer(response: str) -> str:
    """The reasoning without the line that states the answer, which the pair template adds to both sides alike."""
    head = response[: response.rfind("\\boxed")] if "\\boxed" in response else response
    return head[: head.rfind("\n")].strip() if "\n" in head and "\\boxed" in response else head.strip()
