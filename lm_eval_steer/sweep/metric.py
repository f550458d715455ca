"""Which of a task's metrics a sweep chooses strengths by, and gives its verdicts on."""

from __future__ import annotations

from collections.abc import Iterable
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
