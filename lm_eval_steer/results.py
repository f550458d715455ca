"""Reading what `lm_eval` wrote: one Run per result file, with its samples where they were logged."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from tqdm import tqdm

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.models.neutral import NEUTRAL
from lm_eval_steer.record import digest


@dataclass(frozen=True)
class Sample:
    """One document's outcome.

    Attributes:
        key: document and prompt; two runs are paired where these agree.
        response: what the model wrote.
        score: the task's first metric.
        request: the prompt's digest as a record has it; empty where there is no one prompt.
    """

    key: tuple[str, str]
    response: str
    score: float
    request: str = ""


@dataclass(frozen=True)
class Document:
    """What a run was asked, and what it answered.

    Attributes:
        key: as that of its sample.
        number: the harness's.
        content: as the task has it.
        target: the right answer.
        prompt: what the model saw; of several choices, what stands before the first.
        choices: what multiple choice scored; empty for a generation.
        request: as that of its sample, for multiple choice too.
        response: as text; of choices, their log-likelihoods.
        answer: what the run's filter read, or number of the likeliest choice; None for no answer.
        score: the task's first metric.
    """

    key: tuple[str, str]
    number: int
    content: Any
    target: str
    prompt: str
    choices: tuple[str, ...]
    request: str
    response: str
    answer: str | None
    score: float


@dataclass(frozen=True)
class Run:
    """One task of one result file.

    Attributes:
        path: the result file.
        task: name of the task.
        child: the evaluated model.
        arguments: everything of the command that tells it from other runs of the task, as JSON.
        conditions: what runs must share to be compared, beside documents and prompts: its name -> its value.
        own_conditions: the same for what differs between children by nature (template, revision, model arguments).
        steering: what `steered-hf` recorded; empty for another model class.
        chat: whether the prompts went through a chat template.
        metric: the task's first metric, with the filter that it was computed over.
        score: its value.
        n: documents.
        samples: one per document; empty without --log_samples and for a metric that is no number per document.
        higher_is_better: which way the metric points.
        vectors: name of the vector file; empty without one.
        record: its record's folder, as the command named it; empty without one.
        seconds: that the command took, loading included; None where the file does not say.
        lm_eval_version: of the harness that wrote the file; empty where it does not say.
        has_samples_file: whether samples were logged at all.
    """

    path: Path
    task: str
    child: str
    arguments: str
    conditions: dict[str, str]
    own_conditions: dict[str, str]
    steering: dict[str, Any]
    chat: bool
    metric: str
    score: float
    n: int
    samples: list[Sample]
    higher_is_better: bool
    vectors: str
    record: str
    seconds: float | None
    lm_eval_version: str
    has_samples_file: bool

    @property
    def alphas(self) -> tuple[float, ...]:
        """Strengths of the run, by which its responses voted where they are several; without steering it is 0."""
        alpha = self.steering.get("alpha", 0.0)
        return tuple(map(float, alpha)) if isinstance(alpha, list) else (float(alpha),)

    @property
    def settings(self) -> list[str]:
        """Digests of its settings, which its lines in a record bear; empty where the file does not say."""
        return list(self.steering.get("settings") or ())

    @property
    def is_baseline(self) -> bool:
        """Whether nothing was steered, and this is no control either."""
        return not any(self.alphas) and not self.steering.get("control")

    @property
    def documents(self) -> str | None:
        """Digest of the documents, in any order; None where samples do not tell."""
        return _digest([sample.key[0] for sample in self.samples])

    @property
    def prompts(self) -> str | None:
        """Digest of the documents with their prompts, in any order; None where samples do not tell."""
        return _digest([" ".join(sample.key) for sample in self.samples])


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
        if not paths and (folder / "sweep.json").is_file():
            raise SteeringError(f"the sweep in {folder} has no arm yet: start its command again, it goes on")
        if not paths:
            raise SteeringError(f"{folder} holds no results_*.json of lm_eval: run lm_eval with --output_path {folder}")
        for path in tqdm(paths, desc="results", unit="file", delay=2, leave=False, disable=None):
            for run in _read(path):
                newest[path.parent.resolve(), run.task, run.arguments] = run
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
    name, filter_name = metric.split(",", 1)
    n = content["n-samples"][task]["effective"]
    seconds = content.get("total_evaluation_time_seconds")
    samples = _samples_file(path, task)
    return Run(
        path=path,
        task=task,
        child=str(content.get("model_name") or config["model"]),
        arguments=json.dumps([*arguments, content["n-shot"][task]], default=str),
        conditions=_conditions(content, config, task, metric),
        own_conditions=_own_conditions(content, config),
        steering=config.get("steering") or {},
        chat=bool(content.get("chat_template_sha")),
        metric=metric,
        score=float(score),
        n=n,
        samples=_read_samples(samples, name, filter_name, n) if samples.is_file() else [],
        higher_is_better=bool((content.get("higher_is_better") or {}).get(task, {}).get(name, True)),
        record=str(_arguments_of(config).get("record") or ""),
        vectors=Path(str(_arguments_of(config).get("vectors") or "")).stem,
        seconds=None if seconds is None else float(seconds),
        lm_eval_version=str(content.get("lm_eval_version") or ""),
        has_samples_file=samples.is_file(),
    )


def read_documents(run: Run) -> list[Document]:
    """A run's samples with their documents, by number; empty where the run has no samples.

    Raises:
        SteeringError: where the file of samples was cut or changed since the run was read.
    """
    if not run.samples:
        return []
    file = _samples_file(run.path, run.task)
    name, filter_name = run.metric.split(",", 1)
    try:
        rows = [row for row in _rows(file) if row["filter"] == filter_name]
        return sorted((_document(row, name) for row in rows), key=lambda one: one.number)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise SteeringError(f"{file} holds no whole samples of lm_eval ({error!r}): remove it or run again") from None


def show_choices(choices: Sequence[str], scores: Sequence[Sequence[Any]]) -> str:
    """What multiple choice came to, as text: a line per choice, the likeliest marked."""
    best = _likeliest(scores)
    return "\n".join(
        f"{'→' if place == best else ' '} {place} {float(one[0]):9.3f}  {choice.strip()}"
        for place, (choice, one) in enumerate(zip(choices, scores, strict=True))
    )


def _likeliest(scores: Sequence[Sequence[Any]]) -> int:
    values = [float(one[0]) for one in scores]
    return max(range(len(values)), key=values.__getitem__)


def sum_up_doses(blocks: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """`steering.doses` of one strength, over the blocks."""
    shares = [block["dose"] for block in blocks.values()]
    survivals = [block["survival"] for block in blocks.values() if block["survival"] is not None]
    return {
        "blocks": len(blocks),
        "positions": sum(block["positions"] for block in blocks.values()),
        "dose_mean": fmean(shares),
        "dose_most": max(shares),
        "survival_least": min(survivals, default=None),
    }


_NO_CONDITION = NEUTRAL | {
    *("pretrained", "vectors", "alpha", "dose", "alpha_per_layer", "control", "layers", "tokens", "normalize"),
    *("width_map", "system_role", "blocks", "allow_leak", "vote", "vote_filter", "vote_answer", "vote_metric"),
    *("vote_early_stop", "record", "seed", "dtype", "revision", "trust_remote_code"),
    *("device_map_option", "swap_space"),  # of older releases
}
"""Model arguments that say what is steered and where it runs, or that stand elsewhere among the conditions."""


def _conditions(content: dict[str, Any], config: dict[str, Any], task: str, metric: str) -> dict[str, str]:
    samples = content["n-samples"][task]
    merged = str((config.get("steering") or {}).get("system_prompt", "")).startswith("merged")
    system = content.get("system_instruction")
    found = {
        "metric": metric,
        "limit": f"{samples['effective']} of {samples.get('original', '?')} documents",
        "task version": str((content.get("versions") or {}).get(task, "unknown")),
        "shots": str(content["n-shot"][task]),
        "chat template": "used" if content.get("chat_template_sha") else "not used",
        "system prompt": f"given ({_digest([str(system)])})" if system else "the task's",
        "system_role": "merge" if merged else "as hf has it",
        "dtype": str(config.get("model_dtype") or "unknown").removeprefix("torch."),
        "engine": "vllm" if "vllm" in str(config.get("model")) else "transformers",
    }
    generation = content["configs"][task].get("generation_kwargs") or {}
    return found | {f"generation {key}": _text(generation[key]) for key in sorted(generation)}


def _own_conditions(content: dict[str, Any], config: dict[str, Any]) -> dict[str, str]:
    template = content.get("chat_template_sha")
    sha = config.get("model_sha")
    others = {key: value for key, value in _arguments_of(config).items() if key not in _NO_CONDITION}
    return {
        "template": str(template)[:8] if template else "none",
        "model revision": str(config.get("model_revision") or "unknown") + (f" ({str(sha)[:8]})" if sha else ""),
    } | {f"model argument {key}": _text(others[key]) for key in sorted(others)}


def _arguments_of(config: dict[str, Any]) -> dict[str, Any]:
    given = config.get("model_args") or {}
    if isinstance(given, str):  # simple_evaluate leaves them as they were given
        given = dict(part.partition("=")[::2] for part in given.split(","))
    return dict(given)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str, ensure_ascii=False)


def _digest(parts: list[str]) -> str | None:
    return hashlib.sha256("\n".join(sorted(parts)).encode()).hexdigest()[:8] if parts else None


def _request(arguments: Any) -> str:
    """Of a document with one request; multiple choice has several, and generates no tokens."""
    if not isinstance(arguments, dict) or len(arguments) != 1:
        return ""
    (one,) = arguments.values()
    return digest([one["arg_0"]]) if isinstance(one, dict) and "arg_0" in one else ""


def _samples_file(path: Path, task: str) -> Path:
    return path.with_name(f"samples_{task}_{path.stem.removeprefix('results_')}.jsonl")


def _read_samples(file: Path, metric: str, filter_name: str, n: int) -> list[Sample]:
    rows = [row for row in _rows(file) if row["filter"] == filter_name]
    if len(rows) < n:
        raise ValueError(f"{file.name} holds {len(rows)} of {n} documents")
    if not all(isinstance(row[metric], int | float) and math.isfinite(row[metric]) for row in rows):
        return []
    return [
        Sample(
            (row["doc_hash"], row["prompt_hash"]),
            json.dumps(row["resps"], ensure_ascii=False),
            float(row[metric]),
            _request(row.get("arguments")),
        )
        for row in rows
    ]


def _rows(file: Path) -> Iterator[dict[str, Any]]:
    return (json.loads(line) for line in file.read_text(encoding="utf-8").split("\n") if line)


def _document(row: dict[str, Any], metric: str) -> Document:
    given = row.get("arguments")
    parts = [one for one in given.values() if isinstance(one, dict)] if isinstance(given, dict) else []
    texts = [str(one.get("arg_0", "")) for one in parts]
    choices = tuple(str(one["arg_1"]) for one in parts if isinstance(one.get("arg_1"), str))
    responses, filtered = row["resps"], row.get("filtered_resps")
    read: Any = filtered[0] if isinstance(filtered, list) and len(filtered) == 1 else None
    if choices:
        scores = [one[0] for one in responses]
        response, read = show_choices(choices, scores), _likeliest(scores)
        request = digest([part for pair in zip(texts, choices, strict=True) for part in pair])
    else:
        first = responses[0][0]
        response = first if isinstance(first, str) else _text(first)
        request = digest(texts[:1]) if texts else ""
    return Document(
        key=(row["doc_hash"], row["prompt_hash"]),
        number=int(row["doc_id"]),
        content=row.get("doc"),
        target=_text(row.get("target")),
        prompt=texts[0] if texts else "",
        choices=choices,
        request=request,
        response=response,
        answer=None if read is None else _text(read),
        score=float(row[metric]),
    )
