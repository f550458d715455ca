"""The tasks of a sweep: a test task, its validation twin, and their requests."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.evaluator_utils import get_sample_size
from lm_eval.tasks import TaskManager

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.plugin.known_tasks import remember
from lm_eval_steer.sweep.harness import HarnessArgs, RandomState, random_state, restore

KINDS = {"generate_until": "generate_until", "multiple_choice": "loglikelihood"}
"""Output types on which a set can vote -> the model's method that answers them."""

_TWINS = {"math500_steer": "math_steer_val"}
_PLAIN = HarnessArgs()


@dataclass(frozen=True)
class Read:
    """A task with its data, from which requests can be built again and again.

    Attributes:
        task: of the harness.
        state: of the random generators once it was loaded, which a run of its own would build requests in.
    """

    task: Any
    state: RandomState


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


def find_twins(
    tasks: Sequence[str],
    val_tasks: Sequence[str],
    manager: TaskManager,
    harness: HarnessArgs = _PLAIN,
    examine: Callable[[Requests], object] = id,
    known: dict[str, Read] | None = None,
) -> dict[str, str]:
    """Test task -> validation task.

    Args:
        tasks: names of the test tasks.
        val_tasks: names of their validation tasks, where they are given.
        manager: of the tasks.
        harness: how they are asked.
        examine: is called with every task and the requests of its first document, which have no chat template.
        known: takes the tasks that are read, by name.

    Raises:
        SteeringError: for a task that is missing, is a group, has no twin, that a set cannot vote on, or that cannot be
            prepared.
    """
    twins = {}
    for place, name in enumerate(tasks):
        _check(name, "--tasks", manager, harness, examine, known)
        twin = val_tasks[place] if val_tasks else _TWINS.get(name, f"{name}_val")
        if not val_tasks and twin not in manager.all_subtasks:
            raise SteeringError(
                f"the task {name} has no validation task {twin}, on whose rows a strength could be chosen: name one "
                "with --val_task"
            )
        _check(twin, "--val_task", manager, harness, examine, known)
        if twin == name:
            raise SteeringError(
                f"--val_task {twin} is the test task itself: a strength that is chosen on the test rows proves "
                "nothing, name another task"
            )
        twins[name] = twin
    return twins


def _check(
    name: str,
    option: str,
    manager: TaskManager,
    harness: HarnessArgs,
    examine: Callable[[Requests], object],
    known: dict[str, Read] | None,
) -> None:
    if name not in manager.all_subtasks:
        kind = (
            "is a group of tasks: name its tasks"
            if name in manager.all_tasks
            else "is no task: see lm_eval ls tasks, or name the folder of your own with --include_path (the harness "
            f"passes over a file there that is no whole YAML with task: {name})"
        )
        raise SteeringError(f"{option} {name} {kind}")
    requests = build(name, manager, None, 1, False, harness, known)
    if getattr(requests.task, "UNSAFE_CODE", False) and not harness.confirm_run_unsafe_code:
        raise SteeringError(
            f"{option} {name} executes what the model writes: add --confirm_run_unsafe_code if that may be"
        )
    if getattr(requests.task, "MULTIMODAL", False):
        raise SteeringError(
            f"{option} {name} asks with images or sound, which no model that steers takes: leave it out"
        )
    examine(requests)


def load(name: str, manager: TaskManager, harness: HarnessArgs = _PLAIN) -> Any:
    """A fresh task, prepared as the harness's `simple_evaluate` does.

    Raises:
        SteeringError: for one that cannot be loaded, as where its data is missing, and one that a set cannot vote on.
    """
    try:
        task = harness.load(name, manager)
    except SteeringError:
        raise
    except Exception as error:  # data sets and tasks of others fail in ways of their own
        raise SteeringError(
            f"the task {name} cannot be loaded ({first_line(error)}): see that its data is in reach"
        ) from None
    if task.OUTPUT_TYPE not in KINDS:
        raise SteeringError(
            f"the task {name} is of the type {task.OUTPUT_TYPE}, which has no answers to vote on: a sweep takes "
            f"{' and '.join(KINDS)}"
        )
    return task


def build(
    name: str,
    manager: TaskManager,
    lm: Any,
    limit: float | None,
    template: bool | str,
    harness: HarnessArgs = _PLAIN,
    known: dict[str, Read] | None = None,
) -> Requests:
    """The requests that `simple_evaluate` would build for this model.

    Args:
        name: of the task.
        manager: of the tasks.
        lm: the model; None for prompts without its chat template.
        limit: documents, or a share of them below 1; None for all.
        template: whether the model's chat template is applied, or its name.
        harness: how else the task is asked.
        known: tasks that were read before, to which this one is added; None reads it for itself.

    Raises:
        SteeringError: as `load`, and for prompts that cannot be built, as where shots are fewer than asked for.
    """
    known = {} if known is None else known
    if name not in known:
        known[name] = Read(load(name, manager, harness), random_state())
    task = known[name].task
    restore(known[name].state)
    task.set_fewshot_seed(seed=harness.seeds[3])
    try:
        task.build_all_requests(
            limit=get_sample_size(task, limit), rank=0, world_size=1, **harness.building(lm if template else None)
        )
    except SteeringError:
        raise
    except Exception as error:
        shots = task.get_config("num_fewshot")
        raise SteeringError(
            f"the prompts of {name} cannot be built with {shots} shots ({first_line(error)}): see that the task has "
            "documents and as many shots, or change --num_fewshot"
        ) from None
    instances = [instance for instance in task.instances for _ in range(instance.repeats or 1)]
    return Requests(task, name, instances, KINDS[task.OUTPUT_TYPE])


def unanswered(requests: Requests, metadata: Mapping[str, Any]) -> Any:
    """A task for one more evaluation: the same documents and requests, which are built already, without responses.

    Args:
        requests: of the task.
        metadata: what a run of its own would hand to the task.
    """
    remember(requests.name, requests.task)  # a start that was refused in the meantime may have built it, too
    task = copy.copy(requests.task)
    task._config = copy.copy(task._config)
    task.config.metadata = {**(task.config.metadata or {}), **metadata} or task.config.metadata
    # A request that repeats is several times in the list; the task may have been built anew since, as another's twin.
    task._instances = [copy.copy(instance) for instance in {id(one): one for one in requests.instances}.values()]
    for instance in task._instances:
        instance.resps, instance.filtered_resps = [], {}
    task.build_all_requests = lambda **_: None
    return task


def first_line(error: Exception) -> str:
    """What went wrong, in one line."""
    text = str(error).strip().split("\n")[0]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
