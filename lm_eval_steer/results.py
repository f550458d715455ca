"""Reading what `lm_eval` wrote: one Run per result file, with its samples where they were logged."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lm_eval_steer.errors import SteeringError


@dataclass(frozen=True)
class Sample:
    """One document's outcome.

    Attributes:
        key: document and prompt; two runs are paired where these agree.
        response: what the model wrote.
        score: the task's first metric.
    """

    key: tuple[str, str]
    response: str
    score: float


@dataclass(frozen=True)
class Run:
    """One task of one result file.

    Attributes:
        path: the result file.
        task: name of the task.
        child: the evaluated model.
        arguments: everything of the command that tells it from other runs of the task, as JSON.
        conditions: what a run and its baseline must share beside child, documents and prompts, as JSON.
        steering: what `steered-hf` recorded; empty for another model class.
        chat: whether the prompts went through a chat template.
        metric: the task's first metric, with the filter that it was computed over.
        score: its value.
        n: documents.
        samples: one per document; empty without --log_samples and for a metric that is no number per document.
    """

    path: Path
    task: str
    child: str
    arguments: str
    conditions: str
    steering: dict[str, Any]
    chat: bool
    metric: str
    score: float
    n: int
    samples: list[Sample]

    @property
    def alphas(self) -> tuple[float, ...]:
        """Strengths of the run, by which its responses voted where they are several; without steering it is 0."""
        alpha = self.steering.get("alpha", 0.0)
        return tuple(map(float, alpha)) if isinstance(alpha, list) else (float(alpha),)

    @property
    def is_baseline(self) -> bool:
        """Whether nothing was steered, and this is no control either."""
        return not any(self.alphas) and not self.steering.get("control")


def read_runs(folders: list[Path]) -> list[Run]:
    """The runs below `folders`, in order of path; of runs with the same arguments in one folder, the newest.

    Raises:
        SteeringError: for a folder that is missing or holds no result, and for a half-written file.
    """
    newest: dict[tuple[Path, str, str], Run] = {}
    for folder in folders:
        if not folder.exists():
            raise SteeringError(f"{folder}: no such folder of results")
        found = folder.rglob("results_*.json")  # the harness puts the date into the name
        # A sweep writes an arm into a folder of this name, and renames it when it is whole.
        paths = sorted(path for path in found if not path.relative_to(folder).match("*.part/*/*"))
        if not paths:
            raise SteeringError(f"{folder} holds no results_*.json of lm_eval: run lm_eval with --output_path {folder}")
        for path in paths:
            for run in _read(path):
                newest[path.parent, run.task, run.arguments] = run
    return list(newest.values())


def _read(path: Path) -> list[Run]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        config = content["config"]
        tasks = content["configs"]
        return [_read_task(path, content, config, task) for task in tasks]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SteeringError(
            f"{path} is not a whole result file of lm_eval, or its samples are not ({error!r}): remove it or run again"
        ) from None


def _read_task(path: Path, content: dict[str, Any], config: dict[str, Any], task: str) -> Run:
    scores = {
        key: value
        for key, value in content["results"][task].items()
        if "," in key and "_stderr" not in key and isinstance(value, int | float)
    }
    if not scores:
        raise ValueError(f"no metric of {task}")
    metric, score = next(iter(scores.items()))
    arguments = [config.get(key) for key in ("model", "model_args", "gen_kwargs", "limit")]
    arguments += [content.get(key) for key in ("system_instruction", "chat_template_sha", "fewshot_as_multiturn")]
    conditions = [config.get("model_dtype"), config.get("model_revision")]
    conditions.append(content["configs"][task].get("generation_kwargs"))
    name, filter_name = metric.split(",", 1)
    return Run(
        path=path,
        task=task,
        child=str(content.get("model_name") or config["model"]),
        arguments=json.dumps([*arguments, content["n-shot"][task]], default=str),
        conditions=json.dumps(conditions, sort_keys=True, default=str),
        steering=config.get("steering") or {},
        chat=bool(content.get("chat_template_sha")),
        metric=metric,
        score=float(score),
        n=content["n-samples"][task]["effective"],
        samples=_read_samples(path, task, name, filter_name, content["n-samples"][task]["effective"]),
    )


def _read_samples(path: Path, task: str, metric: str, filter_name: str, n: int) -> list[Sample]:
    date = path.stem.removeprefix("results_")
    file = path.with_name(f"samples_{task}_{date}.jsonl")
    if not file.is_file():
        return []
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n") if line]
    rows = [row for row in rows if row["filter"] == filter_name]
    if len(rows) < n:
        raise ValueError(f"{file.name} holds {len(rows)} of {n} documents")
    if not all(isinstance(row[metric], int | float) for row in rows):
        return []
    return [
        Sample((row["doc_hash"], row["prompt_hash"]), json.dumps(row["resps"], ensure_ascii=False), float(row[metric]))
        for row in rows
    ]
