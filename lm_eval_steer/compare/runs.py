"""Reading what `lm_eval` wrote: one Run per result file, with its samples where they were logged."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

from tqdm import tqdm

from lm_eval_steer.compare.conditions import arguments_of, own_conditions, shared_conditions
from lm_eval_steer.compare.metrics import Metric, aggregations, choose_metric, show_metrics
from lm_eval_steer.compare.pool import read_group, roots
from lm_eval_steer.compare.result_files import check_task, find_result_files, read_results, samples_file, stamp
from lm_eval_steer.compare.run import Run, by_metric
from lm_eval_steer.compare.samples import (
    Document,
    as_member,
    find_documents,
    find_logged,
    is_number,
)
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.files import is_file
from lm_eval_steer.text import printable
from lm_eval_steer.vectors.formats import suffixes

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
    of_metric, aggregate = by_metric(logged, metric, score, aggregation)
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
