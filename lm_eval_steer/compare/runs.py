"""Reading what `lm_eval` wrote: one Run per result file, with its samples where they were logged."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn

from tqdm import tqdm

from lm_eval_steer.compare.conditions import arguments_of, digest_of, own_conditions, shared_conditions
from lm_eval_steer.compare.metrics import Metric, aggregations, choose_metric, show_metrics
from lm_eval_steer.compare.pool import read_group, roots
from lm_eval_steer.compare.result_files import check_task, find_result_files, read_results, samples_file, stamp
from lm_eval_steer.compare.samples import (
    Document,
    Logged,
    Sample,
    as_member,
    find_documents,
    find_logged,
    is_number,
)
from lm_eval_steer.compare.stats.aggregates import AGGREGATES, OF_METRICS, fit, influences
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.files import is_file
from lm_eval_steer.interventions.controls import Control, control_in, read_control
from lm_eval_steer.text import printable
from lm_eval_steer.vectors.formats import suffixes


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
        metric: the one that it is judged by, the task's first or another, with the filter that it was computed over.
        score: its value.
        n: documents.
        samples: one per document; empty without --log_samples, and where nothing that is known makes the score of what
            was logged.
        higher_is_better: which way the metric points.
        vectors: name of the vector file; empty without one.
        record: its record's folder, as the command named it; empty without one.
        seconds: that the command took, loading included; None where the file does not say.
        lm_eval_version: of the harness that wrote the file; empty where it does not say.
        has_samples_file: whether samples were logged at all.
        others: the task's other metrics that are finite numbers, each with its filter, in the order of the file.
        logged: its documents with what was logged of them by every metric.
        aggregation: of the metric, as that of `Metric`.
        aggregate: what makes the score of the documents together, a key of `AGGREGATES`; None where it is the mean of a
            number per document, or where there are no samples.
        members: of a group, its tasks; empty for a task.
        group: in which it lies, in its result file: the outermost one that has a score; None for that one, and for a
            task by itself.
        by_task: whether it is pooled from several result files, of tasks that may have strengths of their own.
    """

    path: Path
    task: str
    child: str
    arguments: str
    conditions: dict[str, str]
    own_conditions: dict[str, str]
    steering: dict[str, Any]
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
    others: Mapping[str, Metric]
    logged: Sequence[Logged] = ()
    aggregation: str = ""
    aggregate: str | None = None
    members: tuple[str, ...] = ()
    group: str | None = None
    by_task: bool = False
    _by: dict[str, Run] = field(init=False, repr=False, compare=False, default_factory=dict)

    @property
    def metrics(self) -> tuple[str, ...]:
        """All of them, the one that it is judged by first."""
        return self.metric, *self.others

    def by(self, metric: str) -> Run:
        """The run judged by another of its metrics."""
        if metric == self.metric:
            return self
        if metric not in self._by:
            other = self.others[metric]
            before = {self.metric: Metric(self.score, self.higher_is_better, self.aggregation)}
            samples, aggregate = _samples(self.logged, metric, other.score, other.aggregation)
            self._by[metric] = replace(
                self,
                metric=metric,
                score=other.score,
                higher_is_better=other.higher_is_better,
                aggregation=other.aggregation,
                aggregate=aggregate,
                samples=samples,
                others={name: told for name, told in (before | dict(self.others)).items() if name != metric},
                conditions=self.conditions | {"metric": metric},
            )
        return self._by[metric]

    def with_documents(self, score: float, logged: Sequence[Logged], others: Mapping[str, Metric]) -> Run:
        """The run with another outcome: its score, its documents and its other metrics."""
        samples, aggregate = _samples(logged, self.metric, score, self.aggregation)
        return replace(self, score=score, samples=samples, aggregate=aggregate, logged=logged, others=others)

    @property
    def is_share(self) -> bool:
        """Whether the score, and every document's where it is their mean, lies between 0 and 1, and is a share."""
        if self.aggregate is not None:
            return AGGREGATES[self.aggregate].is_share and 0 <= self.score <= 1
        if self.members:  # whose documents may count for more than one
            return 0 <= self.score <= 1 and all(one.score >= 0 for one in self.samples)
        return all(0 <= value <= 1 for value in [one.score for one in self.samples] or [self.score])

    @property
    def alphas(self) -> tuple[float, ...]:
        """Strengths of the run, by which its responses voted where they are several; without steering it is 0."""
        alpha = self.steering.get("alpha", 0.0)
        return tuple(map(float, alpha)) if isinstance(alpha, list) else (float(alpha),)

    @property
    def has_strength(self) -> bool:
        """Whether any of them does anything: 0 does under operators that set a value, as newer files say."""
        return any(self.alphas) or bool(self.steering.get("steers"))

    @property
    def settings(self) -> list[str]:
        """Digests of its settings, which its lines in a record bear; empty where the file does not say."""
        return list(self.steering.get("settings") or ())

    @property
    def control(self) -> Control | None:
        """What took the vector's place, also by the passport of its file; None for the vector itself and for none."""
        return read_control(self.steering.get("control") or None) or (
            control_in(self.passport) if self.has_strength else None
        )

    @property
    def passport(self) -> dict[str, Any]:
        """Of the vector file; empty without one."""
        return dict(self.steering.get("passport") or {})

    @property
    def weights(self) -> str | None:
        """Digest of the child's checkpoint; None where the file does not say."""
        return self.steering.get("weights")

    @property
    def documents(self) -> str | None:
        """Digest of the documents, in any order; None where samples do not tell."""
        return digest_of([one.key[0] for one in self.logged])

    @property
    def prompts(self) -> str | None:
        """Digest of the documents with their prompts, in any order; None where samples do not tell."""
        return digest_of([" ".join(one.key) for one in self.logged])


Chosen = Callable[[Path, str], str | None]
"""Result file and task -> the metric that its run is judged by; None for the task's first."""


def read_runs(places: list[Path], chosen: Chosen | None = None) -> list[Run]:
    """The runs below `places`, as `find_runs` finds them."""
    return find_runs(places, chosen)[0]


def find_runs(places: Sequence[Path], chosen: Chosen | None = None) -> tuple[list[Run], list[str]]:
    """The runs of some places, in order of path, and a sentence for each that is left out.

    Of runs with the same arguments and the same --output_path, the newest counts. Left out are files that are damaged
    or foreign, and tasks without a score, or without the metric that is chosen. A score that is NaN is one.

    Args:
        places: folders, with all that is below them; result files; or what --output_path named, as in runs/base.json.
        chosen: by which metric each run is judged; None for the tasks' first ones.

    Raises:
        SteeringError: for a place that is missing or holds no result, and where nothing is left.
    """
    newest: dict[tuple[Path, str, str, str], tuple[str, Run]] = {}
    left_out: dict[str, None] = {}
    for place in places:
        paths = find_result_files(place)
        for path in tqdm(paths, desc="results", unit="file", delay=2, leave=False, disable=None):
            name, date = stamp(path)
            runs, sentences = _read(path, chosen)
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


def _read(path: Path, chosen: Chosen | None) -> tuple[list[Run], list[str]]:
    """The runs of a file, and why others of its tasks, or all, are left out."""
    runs: list[Run] = []
    sentences = []
    try:
        content = read_results(path)
    except _BROKEN as error:
        return [], [_broken(path, error)]
    for task in content["configs"]:
        try:
            check_task(content, task)
            runs.append(_read_task(path, content, task, chosen(path, task) if chosen else None))
        except _BROKEN as error:
            sentences.append(_broken(path, error))
    tasks = {run.task: run for run in runs}
    for group in content.get("groups") or {}:
        try:
            results = content["results"][group]
            metric, score = _choose(path, group, results, chosen(path, group) if chosen else None)
            runs.append(read_group(content, group, tasks, metric, _metrics(results) | {metric: score}))
        except _BROKEN as error:
            sentences.append(_broken(path, error))
    within = roots(content)
    runs = [replace(run, group=root if (root := within.get(run.task)) != run.task else None) for run in runs]
    if not content["configs"]:
        sentences.append(_broken(path, ValueError("it names no task")))
    return runs, sentences


_BROKEN = (ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError, RecursionError)
"""What reading raises for what is no result; a SteeringError is a ValueError that says it all."""


def _broken(path: Path, error: Exception) -> str:
    if isinstance(error, SteeringError):
        return str(error)
    why = f"{error}" if isinstance(error, ValueError) else f"{error!r}"
    return printable(
        f"{path} is not a whole result file of lm_eval, or its samples are not ({why}): remove it or run again"
    )


def _read_task(path: Path, content: dict[str, Any], task: str, chosen: str | None) -> Run:
    config = content["config"]
    higher = (content.get("higher_is_better") or {}).get(task) or {}
    named = aggregations(content["configs"][task])
    metric, score = _choose(path, task, content["results"][task], chosen)
    others = {
        name: Metric(float(value), bool(higher.get(name.split(",")[0], True)), named.get(name.split(",")[0], ""))
        for name, value in _metrics(content["results"][task]).items()
        if name != metric and is_number(value)
    }
    arguments = [config.get(key) for key in ("model", "model_args", "gen_kwargs", "limit")]
    arguments += [content.get(key) for key in ("system_instruction", "chat_template_sha", "fewshot_as_multiturn")]
    n = content["n-samples"][task]["effective"]
    given = arguments_of(config)
    seconds = content.get("total_evaluation_time_seconds")
    samples = samples_file(path, task)
    has_samples = is_file(samples)
    logged = find_logged(samples, metric, n, others) if has_samples else []
    aggregation = named.get(metric.split(",")[0], "")
    of_metric, aggregate = _samples(logged, metric, score, aggregation)
    return Run(
        path=path,
        task=task,
        child=printable(content.get("model_name") or config["model"]),
        arguments=json.dumps([*arguments, content["n-shot"][task]], default=str),
        conditions=shared_conditions(content, task, metric),
        own_conditions=own_conditions(content),
        steering=_steering(config),
        metric=metric,
        score=score,
        n=n,
        samples=of_metric,
        higher_is_better=bool(higher.get(metric.split(",")[0], True)),
        record=str(given.get("record") or ""),
        vectors=printable(_name_vectors(str(given.get("vectors") or ""))),
        seconds=None if seconds is None else float(seconds),
        lm_eval_version=printable(str(content.get("lm_eval_version") or "")),
        has_samples_file=has_samples,
        others=others,
        logged=logged,
        aggregation=aggregation,
        aggregate=aggregate,
    )


def _samples(logged: Sequence[Logged], metric: str, score: float, aggregation: str) -> tuple[list[Sample], str | None]:
    """The documents by one metric, and what makes its score of them; none where nothing that is known does."""
    items = [one.items[metric] for one in logged]
    if not items:
        return [], None
    numbers = [float(item) for item in items if is_number(item)]
    aggregate = None
    if len(numbers) < len(items) or (math.isfinite(score) and not _is_mean(numbers, score)):
        name = metric.split(",")[0]
        several = len({one.key[0] for one in logged}) > 1
        aggregate = fit(items, score, aggregation or OF_METRICS.get(name, name)) if several else None
        if aggregate is None:
            return [], None
        numbers = influences(AGGREGATES[aggregate].read(items)).tolist()
    samples = [
        Sample(one.key, one.response, number, one.request, item)
        for one, number, item in zip(logged, numbers, items, strict=True)
    ]
    return samples, aggregate


def _is_mean(numbers: Sequence[float], score: float) -> bool:
    return math.isclose(math.fsum(numbers) / len(numbers), score, rel_tol=1e-6, abs_tol=1e-9)


def _name_vectors(given: str) -> str:
    """Name of a vector file without folder and suffix; in qwen2.5-coder-0.5b a dot begins none."""
    path = Path(given)
    return path.stem if path.suffix in suffixes() else path.name


def _metrics(results: Mapping[str, Any]) -> dict[str, Any]:
    """`name,filter` -> what a result file has there."""
    return {key: value for key, value in results.items() if "," in key and "_stderr" not in key}


def _choose(path: Path, task: str, results: dict[str, Any], chosen: str | None) -> tuple[str, float]:
    """The metric that is chosen, or a task's first, with its filter, and its value.

    Raises:
        SteeringError: where there is no such metric, and where it is no number, as after --predict_only, whose metric
            is the constant 999.
    """
    known = _metrics(results)
    metric = next(iter(known), "") if chosen is None else choose_metric(known, chosen)
    if metric is None:
        raise SteeringError(f"{path}: {task} has no metric {chosen}: it has {show_metrics(tuple(known))}")
    value = known.get(metric)
    if not metric or metric.startswith("bypass,"):
        why = "it was run with --predict_only" if metric else "it has no score"
        raise SteeringError(f"{path}: no metric of {task} ({why}), so there is nothing to compare")
    if isinstance(value, bool) or not isinstance(value, int | float):
        which = "first one" if chosen is None else "one to compare by"
        raise SteeringError(
            f"{path}: no metric of {task} to compare, for the {which}, {metric}, is {value!r:.60} and no number"
        )
    return metric, float(value)


def read_documents(run: Run) -> list[Document]:
    """A run's samples with their documents, by number; empty where the run has no samples.

    Raises:
        SteeringError: where the file of samples was cut or changed since the run was read.
    """
    if not run.logged or run.by_task:
        return []
    found: list[Document] = []
    for task in run.members or (run.task,):
        file = samples_file(run.path, task)
        try:
            documents = find_documents(file, run.metric)
        except _BROKEN as error:
            raise SteeringError(
                f"{file} holds no whole samples of lm_eval ({error!r}): remove it or run again"
            ) from None
        if run.members:
            before = len(found)
            documents = [replace(one, key=as_member(task, one.key), number=before + one.number) for one in documents]
        found += [replace(one, task=task) for one in documents]
    return found


def _steering(config: dict[str, Any]) -> dict[str, Any]:
    """What a steered class recorded; older files name no operator, but whether it kept the norm."""
    steering = dict(config.get("steering") or {})
    return {"operator": "add_keep_norm"} | steering if steering.get("normalize") else steering
