"""Reading what `lm_eval` wrote: one Run per result file, with its samples where they were logged."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, NoReturn

from tqdm import tqdm

from lm_eval_steer.axis.record import digest
from lm_eval_steer.compare.result_files import (
    check_task,
    find_result_files,
    read_results,
    read_samples,
    samples_file,
    stamp,
)
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.files import is_file
from lm_eval_steer.interventions.arguments import ARGUMENT_NAMES
from lm_eval_steer.interventions.controls import Control, read_control
from lm_eval_steer.models.neutral import NEUTRAL
from lm_eval_steer.text import printable


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
    def control(self) -> Control | None:
        """What took the vector's place; None for the vector itself and without steering."""
        return read_control(self.steering.get("control") or None)

    @property
    def weights(self) -> str | None:
        """Digest of the child's checkpoint; None where the file does not say."""
        return self.steering.get("weights")

    @property
    def documents(self) -> str | None:
        """Digest of the documents, in any order; None where samples do not tell."""
        return _digest([sample.key[0] for sample in self.samples])

    @property
    def prompts(self) -> str | None:
        """Digest of the documents with their prompts, in any order; None where samples do not tell."""
        return _digest([" ".join(sample.key) for sample in self.samples])


def read_runs(places: list[Path]) -> list[Run]:
    """The runs below `places`, as `find_runs` finds them."""
    return find_runs(places)[0]


def find_runs(places: Sequence[Path]) -> tuple[list[Run], list[str]]:
    """The runs of some places, in order of path, and a sentence for each that is left out.

    Of runs with the same arguments and the same --output_path, the newest counts. Left out are files that are damaged
    or foreign, and tasks without a score. A score that is NaN is one: see `is_scored`.

    Args:
        places: folders, with all that is below them; result files; or what --output_path named, as in runs/base.json.

    Raises:
        SteeringError: for a place that is missing or holds no result, and where nothing is left.
    """
    newest: dict[tuple[Path, str, str, str], tuple[str, Run]] = {}
    left_out: dict[str, None] = {}
    for place in places:
        paths = find_result_files(place)
        for path in tqdm(paths, desc="results", unit="file", delay=2, leave=False, disable=None):
            name, date = stamp(path)
            runs, sentences = _read(path)
            left_out |= dict.fromkeys(sentences)
            for run in runs:
                key = (path.parent.resolve(), name, run.task, run.arguments)
                if key not in newest or newest[key][0] <= date:
                    newest[key] = (date, run)
    if not newest:
        refuse_nothing(list(left_out))
    return [run for _, run in newest.values()], list(left_out)


def refuse_nothing(left_out: Sequence[str]) -> NoReturn:
    """End where everything was left out, with the first reason."""
    more = f" (and {len(left_out) - 1} more that cannot be used)" if len(left_out) > 1 else ""
    raise SteeringError(f"{left_out[0]}{more}")


def is_scored(run: Run) -> bool:
    """Whether a run can be compared: NaN is less and more than nothing."""
    return not math.isnan(run.score)


def _read(path: Path) -> tuple[list[Run], list[str]]:
    """The runs of a file, and why others of its tasks, or all, are left out."""
    runs: list[Run] = []
    sentences = []
    try:
        content = read_results(path)
    except SteeringError as error:
        return [], [str(error)]
    except _BROKEN as error:
        return [], [_broken(path, error)]
    for task in content["configs"]:
        try:
            check_task(content, task)
            runs.append(_read_task(path, content, task))
        except SteeringError as error:
            sentences.append(str(error))
        except _BROKEN as error:
            sentences.append(_broken(path, error))
    if not content["configs"]:
        sentences.append(_broken(path, ValueError("it names no task")))
    return runs, sentences


_BROKEN = (ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError, RecursionError)
"""What reading raises for what is no result."""


def _broken(path: Path, error: Exception) -> str:
    why = f"{error}" if isinstance(error, ValueError) else f"{error!r}"
    return printable(
        f"{path} is not a whole result file of lm_eval, or its samples are not ({why}): remove it or run again"
    )


def _read_task(path: Path, content: dict[str, Any], task: str) -> Run:
    config = content["config"]
    metric, score = _first_metric(path, task, content["results"][task])
    arguments = [config.get(key) for key in ("model", "model_args", "gen_kwargs", "limit")]
    arguments += [content.get(key) for key in ("system_instruction", "chat_template_sha", "fewshot_as_multiturn")]
    name, filter_name = metric.split(",", 1)
    n = content["n-samples"][task]["effective"]
    seconds = content.get("total_evaluation_time_seconds")
    samples = samples_file(path, task)
    has_samples = is_file(samples)
    higher = (content.get("higher_is_better") or {}).get(task) or {}
    return Run(
        path=path,
        task=task,
        child=printable(content.get("model_name") or config["model"]),
        arguments=json.dumps([*arguments, content["n-shot"][task]], default=str),
        conditions=_printable(_conditions(content, config, task, metric)),
        own_conditions=_printable(_own_conditions(content, config)),
        steering=_steering(config),
        chat=bool(content.get("chat_template_sha")),
        metric=metric,
        score=score,
        n=n,
        samples=_read_samples(samples, name, filter_name, n) if has_samples else [],
        higher_is_better=bool(higher.get(name, True)),
        record=str(_arguments_of(config).get("record") or ""),
        vectors=printable(Path(str(_arguments_of(config).get("vectors") or "")).stem),
        seconds=None if seconds is None else float(seconds),
        lm_eval_version=printable(str(content.get("lm_eval_version") or "")),
        has_samples_file=has_samples,
    )


def _first_metric(path: Path, task: str, results: dict[str, Any]) -> tuple[str, float]:
    """A task's first metric with its filter, and its value.

    Raises:
        SteeringError: where it is no number, as after --predict_only, whose metric is the constant 999.
    """
    metrics = {key: value for key, value in results.items() if "," in key and "_stderr" not in key}
    metric, value = next(iter(metrics.items()), ("", None))
    if not metric or metric.startswith("bypass,"):
        why = "it was run with --predict_only" if metric else "it has no score"
        raise SteeringError(f"{path}: no metric of {task} ({why}), so there is nothing to compare")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise SteeringError(
            f"{path}: no metric of {task} to compare, for the first one, {metric}, is {value!r:.60} and no number"
        )
    return metric, float(value)


def read_documents(run: Run) -> list[Document]:
    """A run's samples with their documents, by number; empty where the run has no samples.

    Raises:
        SteeringError: where the file of samples was cut or changed since the run was read.
    """
    if not run.samples:
        return []
    file = samples_file(run.path, run.task)
    name, filter_name = run.metric.split(",", 1)
    try:
        return sorted((_document(row, name) for row in read_samples(file, filter_name)), key=lambda one: one.number)
    except _BROKEN as error:
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
    survivals = [block["survival"] for block in blocks.values() if block.get("survival") is not None]
    return {
        "blocks": len(blocks),
        "positions": sum(block["positions"] for block in blocks.values()),
        "dose_mean": fmean(shares),
        "dose_most": max(shares),
        "survival_least": min(survivals, default=None),
    }


_NO_CONDITION = NEUTRAL | {
    *ARGUMENT_NAMES,
    *("pretrained", "dtype", "revision", "trust_remote_code"),
    *("device_map_option", "swap_space"),  # of older releases
}
"""Model arguments that say what is steered and where it runs, or that stand elsewhere among the conditions."""


def _steering(config: dict[str, Any]) -> dict[str, Any]:
    """What a steered class recorded; older files name no operator, but whether it kept the norm."""
    steering = dict(config.get("steering") or {})
    return {"operator": "add_keep_norm"} | steering if steering.get("normalize") else steering


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
        "engine": _engine(config),
    }
    generation = content["configs"][task].get("generation_kwargs") or {}
    return found | {f"generation {key}": _text(generation[key]) for key in sorted(generation)}


_ENGINES = {
    **dict.fromkeys(("hf", "hf-auto", "huggingface", "steered-hf", "steered"), "transformers"),
    **dict.fromkeys(("hf-multimodal", "hf-mistral3", "hf-audiolm-qwen"), "transformers"),
    **dict.fromkeys(("vllm", "vllm-vlm", "steered-vllm"), "vllm"),
    **dict.fromkeys(("sglang", "sglang-generate"), "sglang"),
    **{name: name for name in ("ipex", "openvino", "habana")},  # of the class of `hf`, but with engines of their own
}
"""Model class of the harness -> what computes; another class (an API, onnxruntime) goes by its own name."""


def _engine(config: dict[str, Any]) -> str:
    name = str(config.get("model") or "unknown")
    if name in _ENGINES:
        return _ENGINES[name]
    if "model_num_parameters" in config:  # HFLM says it; simple_evaluate calls a model that it was handed otherwise
        return "transformers"
    return "vllm" if "vllm" in name.lower() else name


def _own_conditions(content: dict[str, Any], config: dict[str, Any]) -> dict[str, str]:
    template = content.get("chat_template_sha")
    sha = config.get("model_sha")
    others = {key: value for key, value in _arguments_of(config).items() if key not in _NO_CONDITION}
    return (
        _date(content, config)
        | {
            "template": str(template)[:8] if template else "none",
            "model revision": str(config.get("model_revision") or "unknown") + (f" ({str(sha)[:8]})" if sha else ""),
        }
        | {f"model argument {key}": _text(others[key]) for key in sorted(others)}
    )


def _date(content: dict[str, Any], config: dict[str, Any]) -> dict[str, str]:
    """The date in the prompts, where the chat template prints one; of a model that says none, that of the run."""
    if not content.get("chat_template_sha"):
        return {}
    steering = config.get("steering") or {}
    day = steering.get("date")
    asks = "strftime_now" in str(content.get("chat_template")) and "date" not in steering
    given = "date_string" in (_arguments_of(config).get("chat_template_args") or {})
    if asks and not given and isinstance(content.get("date"), int | float):
        with contextlib.suppress(ValueError, OverflowError, OSError):  # of a number that is no time
            day = datetime.date.fromtimestamp(content["date"]).isoformat()
    return {"template's date": str(day)} if day else {}


def _arguments_of(config: dict[str, Any]) -> dict[str, Any]:
    given = config.get("model_args") or {}
    if isinstance(given, str):  # simple_evaluate leaves them as they were given
        given = dict(part.partition("=")[::2] for part in given.split(","))
    return dict(given)


def _printable(conditions: dict[str, str]) -> dict[str, str]:
    return {printable(name): printable(value) for name, value in conditions.items()}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str, ensure_ascii=False)


def _digest(parts: list[str]) -> str | None:
    return hashlib.sha256("\n".join(sorted(parts)).encode()).hexdigest()[:8] if parts else None


def _read_samples(file: Path, metric: str, filter_name: str, n: int) -> list[Sample]:
    rows = list(read_samples(file, filter_name))
    if len(rows) < n:
        raise ValueError(f"{file.name} holds {len(rows)} of {n} documents")
    if not all(isinstance(row[metric], int | float) and math.isfinite(row[metric]) for row in rows):
        return []
    documents = [_document(row, metric) for row in rows]  # now, so that nobody meets one that is not whole later
    return [
        Sample(one.key, json.dumps(row["resps"], ensure_ascii=False), one.score, "" if one.choices else one.request)
        for one, row in zip(documents, rows, strict=True)
    ]


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
