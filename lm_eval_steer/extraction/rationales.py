"""Reasoning for a dataset that has none: a model writes it, given the right answer (paper: Gemini, for ARC).

The file (rationale_file.py) grows by batches that are flushed to disk: a run that was killed goes on where it stopped.
"""

from __future__ import annotations

import os
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lm_eval.api.instance import Instance
from tqdm import tqdm

from lm_eval_steer.answers import opened_thought, visible
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.extraction.prompts import rendered, require_chat_template
from lm_eval_steer.extraction.rationale_file import Author, RationaleFile, read_lines
from lm_eval_steer.extraction.templates import complete
from lm_eval_steer.locks import held
from lm_eval_steer.text import shortened


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
        if self.seed < 0:
            raise SteeringError(f"seed={self.seed} is negative: use a whole number from 0 on")


# The doc's own question and answer, then what is asked for. The answer is given; what is wanted is the way to it.
REQUEST = (
    "{question}\n\n{answer}\n\nThat is the right answer. Explain step by step, as the instructions say, why it is "
    "right, and end with the answer in the format that the instructions ask for."
)


def prepare(
    args: RationaleArgs, task: Any, answer_template: str, author: Author | None = None
) -> tuple[list[Any], RationaleFile]:
    """The rows to ask for and the file, with all that can be wrong about them found before a model is loaded.

    Raises:
        SteeringError: for too few rows, and for a file that cannot be gone on with.
    """
    file = RationaleFile(args.out, author)
    docs = task.training_docs()
    if args.n > len(docs):
        raise SteeringError(f"n={args.n} rows, but {args.task} has {len(docs)} extraction rows: use a smaller --n")
    chosen = [docs[i] for i in sorted(random.Random(args.seed).sample(range(len(docs)), args.n))]
    for doc in chosen:
        complete(answer_template, doc, f"`negative` of the pair template for {args.task}")
    return chosen, file


def write_rationales(
    args: RationaleArgs, task: Any, model: Any, answer_template: str, author: Author | None = None
) -> tuple[int, int]:
    """Ask `model` (any LM of the harness) for the reasoning of the task's extraction rows.

    A response is kept when the task itself scores it as right and something is left of it without its answer. What a
    model thinks before it speaks is no part of a rationale.

    Args:
        args: see RationaleArgs.
        task: a task of the harness.
        model: an LM of the harness.
        answer_template: the bare answer, as Jinja over the doc (`negative` of the pair template).
        author: who writes; the file of another one is not gone on with.

    Returns:
        attempts at rows of the task that the file holds, and how many of them are kept.
    """
    if args.apply_chat_template:
        require_chat_template(model)
    path = Path(os.path.expanduser(args.out))
    with held(path.with_name(f".{path.name}.lock"), f"the file of rationales {path}", "wait for its end"):
        file = _ask(args, task, model, answer_template, author)
    rows = set(task.training_docs()["row"])
    found = [attempt["kept"] for row, attempt in file.attempts.items() if row in rows]
    return len(found), sum(found)


def _ask(args: RationaleArgs, task: Any, model: Any, answer_template: str, author: Author | None) -> RationaleFile:
    """Ask for what the file lacks; nobody else writes to it meanwhile."""
    chosen, file = prepare(args, task, answer_template, author)
    left = [doc for doc in chosen if doc["row"] not in file.attempts]
    with tqdm(total=len(chosen), desc="Asking for rationales", initial=len(chosen) - len(left)) as progress:
        for start in range(0, len(left), args.batch_size):
            batch = left[start : start + args.batch_size]
            requests = [_request(args, task, model, doc, answer_template, i) for i, doc in enumerate(batch)]
            responses = model.generate_until(requests)
            file.add(
                [
                    _attempt(task, doc, request, response, cuts=getattr(model, "think_end_token", None) is not None)
                    for doc, request, response in zip(batch, requests, responses, strict=True)
                ]
            )
            progress.update(len(batch))
    return file


def read_rationales(path: str | Path) -> dict[str, str]:
    """Row hash, or the dataset's own id, to rationale.

    Takes what `write_rationales` wrote, or a user's own JSONL of {"row" or "id", "rationale"}; lines with
    `"kept": false` are left out.

    Raises:
        SteeringError: names file and line.
    """
    if not os.path.lexists(path):
        raise SteeringError(f"{shortened(path)}: no such file of rationales; make it with lm-eval-steer rationales")
    return {
        str(line.get("row", line.get("id"))): line["rationale"]
        for _, line in read_lines(path)
        if line.get("kept", True) and line["rationale"].strip()
    }


def _request(args: RationaleArgs, task: Any, model: Any, doc: Any, answer: str, index: int) -> Instance:
    system = (task.config.description or "").strip()
    text = REQUEST.format(question=task.doc_to_text(doc), answer=complete(answer, doc, "the answer"))
    if args.apply_chat_template:
        turns = [{"role": "system", "content": system}] if system else []
        prompt = rendered(model, [*turns, {"role": "user", "content": text}])
    else:
        prompt = f"{system}\n\n{text}\n\n"
    settings = {"do_sample": False, "max_gen_toks": args.max_gen_toks, "until": task.config.generation_kwargs["until"]}
    return Instance("generate_until", dict(doc), (prompt, settings), index, (args.task, index, 1))


def _attempt(task: Any, doc: Any, request: Instance, response: str, cuts: bool) -> dict[str, Any]:
    """A line of the file; `cuts` says that the model has cut thoughts away itself."""
    prompt = request.args[0] if isinstance(request.args[0], str) and not cuts else ""
    rationale = _without_answer(visible(response, prompt) or "")
    kept = bool(rationale) and _is_right(task, doc, request, opened_thought(prompt) + response)
    return {"row": doc["row"], "rationale": rationale, "kept": kept, "response": response}


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
