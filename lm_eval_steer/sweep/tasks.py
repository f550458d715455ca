"""The tasks of a sweep: a test task, its validation documents, and the requests of both."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lm_eval.tasks import TaskManager

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.plan import SteeringPlan
from lm_eval_steer.plugin.known_tasks import remember
from lm_eval_steer.sweep.harness import HarnessArgs, RandomState, random_state, restore
from lm_eval_steer.sweep.requests import Requests, check_requests, why_no_vote
from lm_eval_steer.sweep.validation import Choice, Draw, facts_of, find_halves, shot_rows
from lm_eval_steer.text import nearest

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
class Twin:
    """What a test task is searched on.

    Attributes:
        name: of the validation task.
        facts: JSON-ready, which documents it has and which the test has (docs/SWEEP.md).
    """

    name: str
    facts: dict[str, Any]


def find_twins(
    tasks: Sequence[str],
    val_tasks: Sequence[str],
    manager: TaskManager,
    harness: HarnessArgs = _PLAIN,
    examine: Callable[[Requests, str], object] | None = None,
    known: dict[str, Read] | None = None,
    choice: Choice | None = None,
    limit: float | None = None,
) -> dict[str, Twin]:
    """Test task -> validation task: the one that is named, else a twin by its name, else as `find_halves` has it.

    Args:
        tasks: names of the test tasks, members of groups among them, which `known` has already.
        val_tasks: names of their validation tasks, where they are given.
        manager: of the tasks.
        harness: how they are asked.
        examine: is called with the requests of the first document of every task, which have no chat template, and with
            the name of the test task that they are for.
        known: takes the tasks that are read, by name.
        choice: what is said of other validation documents than those of a twin.
        limit: documents of a test task, as `build` takes it.

    Raises:
        SteeringError: for a task that is missing, has no validation documents, or that cannot be prepared.
    """
    known, choice = {} if known is None else known, choice or Choice()
    twins = {}
    for place, name in enumerate(tasks):
        read = _read(name, "--tasks", manager, harness, known)
        twin = val_tasks[place] if val_tasks else _TWINS.get(name, f"{name}_val")
        if val_tasks or (choice.split is None and twin in manager.all_subtasks):
            of_twin = _read(twin, "--val_task", manager, harness, known)
            if twin == name:
                raise SteeringError(
                    f"--val_task {twin} is the test task itself: a strength that is chosen on the test rows proves "
                    "nothing, name another task"
                )
            twins[name] = Twin(twin, facts_of("twin", of_twin.task, read.task))
        else:
            restore(read.state)  # documents that a task draws are then those of a run of its own
            halves = find_halves(name, read.task, choice, drawing(name, read.state, manager, harness, limit))
            twin = halves.validation.config.task
            known |= {name: Read(halves.test, read.state), twin: Read(halves.validation, read.state)}
            twins[name] = Twin(twin, halves.facts)
        if examine is not None:
            for one in (name, twin):
                examine(build(one, manager, None, 1, False, harness, known), name)
    for name, found in twins.items():
        if found.name in twins:
            raise SteeringError(
                f"{found.name} is in --tasks, and {name} is searched on it: sweep it into another --output_path"
            )
    return twins


def _read(name: str, option: str, manager: TaskManager, harness: HarnessArgs, known: dict[str, Read]) -> Read:
    """A task that may be run, with its data."""
    if name not in known and name not in manager.all_subtasks:
        kind = (
            "is a group of tasks: name its tasks"
            if name in manager.all_tasks
            else f"is no task{nearest(name, manager.all_tasks)}: see lm_eval ls tasks, or name the folder of your own "
            f"with --include_path (the harness passes over a file there that is no whole YAML with task: {name})"
        )
        raise SteeringError(f"{option} {name} {kind}")
    if name not in known:
        known[name] = Read(load(name, manager, harness), random_state())
    task = known[name].task
    if getattr(task, "UNSAFE_CODE", False) and not harness.confirm_run_unsafe_code:
        raise SteeringError(
            f"{option} {name} executes what the model writes: add --confirm_run_unsafe_code if that may be"
        )
    if getattr(task, "MULTIMODAL", False):
        raise SteeringError(
            f"{option} {name} asks with images or sound, which no model that steers takes: leave it out"
        )
    return known[name]


def with_shots(read: Read, shots: int | None) -> Read:
    """A task with another number of shots, on the same documents; None leaves it as it is."""
    if shots is None:
        return read
    task = copy.copy(read.task)
    task._config = copy.copy(task._config)
    task.set_config(key="num_fewshot", value=shots)
    return Read(task, read.state)


def drawing(name: str, state: RandomState, manager: TaskManager, harness: HarnessArgs, limit: float | None) -> Draw:
    """What tells the shots of a task's prompts, by building them."""

    def draw(task: Any) -> list[Any]:
        if not hasattr(task, "sampler"):  # a class of its own draws as it likes, so each of its rows may be a shot
            return shot_rows(task)
        drawn: list[Any] = []
        sample = task.sampler.sample

        def note(*args: Any, **kwargs: Any) -> Any:
            shots = sample(*args, **kwargs)
            drawn.extend(shots)
            return shots

        task.sampler.sample = note
        try:
            build(name, manager, None, limit, False, harness, {name: Read(task, state)})
        finally:
            del task.sampler.sample
        return drawn

    return draw


def sample_size(task: Any, limit: float | None) -> int | None:
    """How many documents a limit means: as the harness counts them, of those that the task asks."""
    if limit is None or limit >= 1:
        return None if limit is None else int(limit)
    return math.ceil(sum(1 for _ in task.doc_iterator(rank=0, limit=None, world_size=1)) * limit)


def load(name: str, manager: TaskManager, harness: HarnessArgs = _PLAIN) -> Any:
    """A fresh task, prepared as the harness's `simple_evaluate` does.

    Raises:
        SteeringError: for one that cannot be loaded, as where its data is missing.
    """
    try:
        return harness.load(name, manager)
    except SteeringError:
        raise
    except Exception as error:  # data sets and tasks of others fail in ways of their own
        if isinstance(error, IndexError) or "must have valid or test docs" in str(error):
            raise SteeringError(
                f"the task {name} has no documents to be tested on ({first_line(error)}): see its test_split and its "
                "data, or name another task"
            ) from None
        advice = (
            "set HF_ALLOW_CODE_EVAL=1 in the environment if what the model writes may be run"
            if "HF_ALLOW_CODE_EVAL" in str(error)  # of the metric code_eval, which tries itself where it is loaded
            else "see that its data is in reach, and that the harness knows its metrics"
        )
        raise SteeringError(f"the task {name} cannot be loaded ({first_line(error)}): {advice}") from None


def build(
    name: str,
    manager: TaskManager,
    lm: Any,
    limit: float | None,
    template: bool | str,
    harness: HarnessArgs = _PLAIN,
    known: dict[str, Read] | None = None,
    plan: SteeringPlan | None = None,
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
        plan: may say how a vote reads answers; None for the task's own way.

    Raises:
        SteeringError: as `load` and `why_no_vote`, for requests that no model that steers answers, and for prompts that
            cannot be built, as where shots are fewer than asked for.
    """
    known = {} if known is None else known
    if name not in known:
        known[name] = Read(load(name, manager, harness), random_state())
    task = known[name].task
    restore(known[name].state)
    task.set_fewshot_seed(seed=harness.seeds[3])
    try:
        task.build_all_requests(
            limit=sample_size(task, limit), rank=0, world_size=1, **harness.building(lm if template else None)
        )
    except SteeringError:
        raise
    except Exception as error:
        shots = task.get_config("num_fewshot")
        raise SteeringError(
            f"the prompts of {name} cannot be built with {shots} shots ({first_line(error)}): see that the task has "
            "documents and as many shots, or change --num_fewshot, or shots= in --arms"
        ) from None
    instances = [instance for instance in task.instances for _ in range(instance.repeats or 1)]
    check_requests(name, task.instances)
    requests = Requests(task, name, instances)
    return replace(requests, no_vote=why_no_vote(requests, plan))


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
    # A limit that is a share counts other documents for the harness than for a task that asks a part of its own.
    iterate, size = task.doc_iterator, len({one.doc_id for one in requests.instances})
    task.doc_iterator = lambda **_: iterate(rank=0, limit=size, world_size=1)
    return task


def first_line(error: Exception) -> str:
    """What went wrong, in one line: the first that has a word."""
    text = next((line.strip() for line in str(error).splitlines() if any(map(str.isalnum, line))), "")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
