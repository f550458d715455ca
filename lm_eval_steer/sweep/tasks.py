"""The tasks of a sweep: a test task, its validation twin, and their requests."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from lm_eval.api.instance import Instance
from lm_eval.tasks import TaskManager

from lm_eval_steer.errors import SteeringError

KINDS = {"generate_until": "generate_until", "multiple_choice": "loglikelihood"}
"""Output types on which a set can vote -> the model's method that answers them."""

_TWINS = {"math500_steer": "math_steer_val"}
# The harness's own seeds of random, numpy, torch and few-shot samplers, where its command is given none.
_SEEDS = (0, 1234, 1234, 1234)


@dataclass(frozen=True)
class Requests:
    """What a model is asked for a task.

    Attributes:
        task: of the harness, with its requests built.
        name: its name.
        instances: the requests, each as often as the task repeats it.
        method: the model's method that answers them.
    """

    task: Any
    name: str
    instances: list[Instance]
    method: str

    @property
    def choices(self) -> bool:
        """Whether options are scored."""
        return self.method == "loglikelihood"

    @property
    def answers(self) -> int:
        """How many responses one variant gives: one per request, or one per document whose options are scored."""
        if not self.choices:
            return len(self.instances)
        return sum((instance.repeats or 1) for instance in {i.doc_id: i for i in self.instances}.values())


def find_twins(tasks: Sequence[str], val_tasks: Sequence[str], manager: TaskManager) -> dict[str, str]:
    """Test task -> validation task.

    Raises:
        SteeringError: for a task that is missing, is a group, has no twin, or that a set cannot vote on.
    """
    twins = {}
    for place, name in enumerate(tasks):
        _check(name, "--tasks", manager)
        twin = val_tasks[place] if val_tasks else _TWINS.get(name, f"{name}_val")
        if not val_tasks and twin not in manager.all_subtasks:
            raise SteeringError(
                f"the task {name} has no validation task {twin}, on whose rows a strength could be chosen: name one "
                "with --val_task"
            )
        _check(twin, "--val_task", manager)
        if twin == name:
            raise SteeringError(
                f"--val_task {twin} is the test task itself: a strength that is chosen on the test rows proves "
                "nothing, name another task"
            )
        twins[name] = twin
    return twins


def _check(name: str, option: str, manager: TaskManager) -> None:
    if name not in manager.all_subtasks:
        kind = (
            "is a group of tasks: name its tasks" if name in manager.all_tasks else "is no task: see lm_eval ls tasks"
        )
        raise SteeringError(f"{option} {name} {kind}")
    task = load(name, manager)
    if task.OUTPUT_TYPE not in KINDS:
        raise SteeringError(
            f"{option} {name} is of the type {task.OUTPUT_TYPE}, which has no answers to vote on: a sweep takes "
            f"{' and '.join(KINDS)}"
        )


def load(name: str, manager: TaskManager) -> Any:
    """A fresh task, prepared as the harness's `simple_evaluate` does."""
    import torch

    random.seed(_SEEDS[0])
    np.random.seed(_SEEDS[1])
    torch.manual_seed(_SEEDS[2])
    task = manager.load([name])["tasks"][name]
    if task.get_config("num_fewshot") is None:
        task.set_config(key="num_fewshot", value=0)
    task.set_fewshot_seed(seed=_SEEDS[3])
    return task


def build(name: str, manager: TaskManager, lm: Any, limit: float | None, template: bool | str) -> Requests:
    """The requests that `simple_evaluate` would build for this model."""
    task = load(name, manager)
    if limit is not None:
        limit = math.ceil(len(task.eval_docs) * limit) if limit < 1 else int(limit)
    task.build_all_requests(
        limit=limit,
        rank=0,
        world_size=1,
        apply_chat_template=bool(template),
        fewshot_as_multiturn=bool(template),
        chat_template=lm.apply_chat_template if template else None,
        tokenizer_name=lm.tokenizer_name if template else "",
    )
    instances = [instance for instance in task.instances for _ in range(instance.repeats or 1)]
    return Requests(task, name, instances, KINDS[task.OUTPUT_TYPE])
