"""Which of a task's metrics a sweep chooses strengths by, and gives its verdicts on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lm_eval_steer.compare.metrics import choose_metric, show_metrics
from lm_eval_steer.errors import SteeringError


def resolve(task: Any, given: str | None, measured: Iterable[str] | None = ()) -> str | None:
    """The metric that is meant, as `name,filter`; None for the task's first.

    Args:
        task: of the harness.
        given: a metric's name, with a filter or without, which is then the first that has it.
        measured: metrics that scoring the right answer of a document gave, for a task may declare fewer than it gives;
            None where that failed, and a metric that the task does not declare is looked for in its responses.

    Raises:
        SteeringError: for a metric that the task does not have; names those that it has.
    """
    if given is None:
        return None
    known = tuple(dict.fromkeys([*(measured or ()), *declared(task)]))
    found = choose_metric(known, given)
    if found is None and measured is None:
        return given if "," in given else f"{given},{task._filters[0].name}"
    if found is None:
        raise SteeringError(f"--metric {given} is no metric of {task.task_name}: it has {show_metrics(known)}")
    return found


def declared(task: Any) -> tuple[str, ...]:
    """The metrics, `name,filter`, that a task says it has, in the order of a result file."""
    names = task.aggregation() or {}
    return tuple(f"{name},{one.name}" for one in task._filters for name in names)


def choose_of_group(group: str, rules: Iterable[Any], members: Mapping[str, Sequence[str]], given: str | None) -> str:
    """The metric that a group is scored by, `name,filter`: the first of its rules, or the one that is meant.

    Args:
        group: its name.
        rules: its `aggregate_metric_list`, parsed by the harness.
        members: task -> the metrics that it declares.
        given: a metric's name, with a filter or without.

    Raises:
        SteeringError: for a metric that the group does not have, and for one that a member lacks.
    """
    known: dict[str, None] = {}
    for rule in rules:
        names = rule.filter_list
        if names is None:  # the harness takes all filters of the members
            of_metric = [one for metrics in members.values() for one in metrics if one.split(",")[0] == rule.metric]
            names = sorted({one.split(",", 1)[1] for one in of_metric})
        known |= dict.fromkeys(f"{rule.metric},{name}" for name in names)
    chosen = choose_metric(known, given) if given is not None else next(iter(known), None)
    if chosen is None:
        raise SteeringError(
            f"--metric {given} is no metric of the group {group}: it has {show_metrics(tuple(known))}"
            if given is not None
            else f"no member of the group {group} has a metric that its aggregate_metric_list names: correct it, or "
            "add --per_task"
        )
    for name, metrics in members.items():
        if chosen not in metrics:
            raise SteeringError(
                f"the group {group} is scored by {chosen}, and its member {name} has {show_metrics(metrics)}: name "
                "another --metric, or add --per_task"
            )
    return chosen


def rule_of(rules: Iterable[Any], metric: str) -> Any:
    """The rule of a group for a metric, `name,filter`: of several the last, which the harness keeps."""
    name, _, kept = metric.partition(",")
    return [one for one in rules if one.metric == name and kept in (one.filter_list or [kept])][-1]
