"""Any task of the harness by its name, and the documents of it that pairs may be made from."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lm_eval.api.task import ConfigurableTask
from lm_eval.tasks import TaskManager

from lm_eval_steer.errors import SteeringError, is_out_of_memory
from lm_eval_steer.extraction.pairs import own_manager
from lm_eval_steer.models.parts import BY_SHARE, SHARE, split_by_hash, way_to_ask
from lm_eval_steer.text import nearest

logger = logging.getLogger(f"lm_eval.{__name__}")

_NAMED = 6
"""Members of a group that a sentence names."""


@dataclass(frozen=True)
class Split:
    """The documents that pairs are made from.

    Attributes:
        name: of the split.
        docs: its documents, as the task prepares them.
        share: that was taken of them, by hash, where the task is tested on the others; None for all.
        tested: whether the task is tested on all of them.
    """

    name: str
    docs: Sequence[Any]
    share: float | None = None
    tested: bool = False


def find_manager(name: str, include_path: str | None = None) -> TaskManager:
    """The harness's manager that knows a task or group: of a folder of one's own, of this package, or of the harness.

    The harness's thousands are scanned only for a name that neither of the others has.

    Raises:
        SteeringError: for a name that is none.
    """
    manager = _manager(name, include_path)
    if name not in manager.all_tasks:
        raise SteeringError(
            f"--task {name} is no task{nearest(name, manager.all_tasks)}: see lm_eval ls tasks, or name the folder "
            "of your own with --include_path"
        )
    return manager


def find_task(name: str, include_path: str | None = None) -> Any:
    """A task by its name, from the first that has it (`find_manager`).

    Raises:
        SteeringError: for a name that is no task or that of a group, and for a task that cannot be loaded or that asks
            with images or sound.
    """
    manager = find_manager(name, include_path)
    if name not in manager.all_subtasks:
        members = list(dict.fromkeys(_members(name, manager)))
        more = f" and {len(members) - _NAMED} more" if len(members) > _NAMED else ""
        tasks, one = ("1 task", "it") if len(members) == 1 else (f"{len(members)} tasks", "one of them")
        raise SteeringError(f"--task {name} is a group of {tasks}: name {one} ({', '.join(members[:_NAMED])}{more})")
    try:
        task = manager.load([name])["tasks"][name]
    except SteeringError:
        raise
    except Exception as error:  # data sets and tasks of others fail in ways of their own
        if is_out_of_memory(error):
            raise
        raise SteeringError(
            f"the task {name} cannot be loaded ({tell(error)}): see that its data is in reach"
        ) from None
    if not isinstance(task, ConfigurableTask):
        raise SteeringError(
            f"the task {name} is a {type(task).__name__}, which does not say what it asks in the harness's present "
            "form: bring its pairs with --pairs FILE"
        )
    if getattr(task, "MULTIMODAL", False):
        raise SteeringError(f"the task {name} asks with images or sound, which no parent takes: name another task")
    return task


def documents(task: Any, split: str | None = None, seed: int = 0) -> Split:
    """The documents of a split; by default of the task's training split.

    Args:
        task: of the harness.
        split: its name; `share` for a part, by hash, of the documents that the task is tested on.
        seed: of that.

    Raises:
        SteeringError: where there is no such split, where the task has no training split, and where the only documents
            are those that it is evaluated on.
    """
    name, config = task.config.task, task.config
    dataset = task.dataset if isinstance(task.dataset, Mapping) else {}
    tested = config.test_split if task.has_test_docs() else config.validation_split
    tested = tested or ("test" if task.has_test_docs() else "validation")  # of a class that overrides the methods
    if split == BY_SHARE and split not in dataset:
        rows = list(task.eval_docs)
        ask = way_to_ask(task, rows)
        places, _ = split_by_hash([ask(doc) for doc in rows], SHARE, seed)
        return Split(f"{BY_SHARE} of {tested}", [rows[place] for place in places], SHARE)
    if split is not None:
        if split not in dataset:
            raise SteeringError(
                f"{name} has no split {split!r}: use one of {', '.join(map(str, [*dataset, BY_SHARE]))}"
            )
        if split == tested:
            logger.warning("%s is evaluated on the split %s: a run of it with this vector will be refused", name, split)
        found = config.process_docs(dataset[split]) if config.process_docs else dataset[split]
        return Split(split, _listed(found), tested=split == tested)
    trained = config.training_split or "train"
    if task.has_training_docs() and trained != tested:
        return Split(trained, _listed(task.training_docs()))
    others = [str(one) for one in dataset if one != tested]
    if others:
        raise SteeringError(
            f"{name} has no training split: name one of its other splits with --split ({', '.join(others)}; it is "
            f"evaluated on {tested})"
        )
    raise SteeringError(
        f"the only documents of {name} are those that it is evaluated on ({tested}): make the vector from a part of "
        f"them with --split {BY_SHARE}, so that a sweep tests it on others, from another task or from --pairs, or name "
        f"them with --split {tested} and evaluate elsewhere"
    )


def tell(error: Exception) -> str:
    """What went wrong, in one line."""
    text = " ".join(str(error).split())[:200]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _manager(name: str, include_path: str | None) -> TaskManager:
    if include_path:
        try:
            theirs = TaskManager(include_path=include_path, include_defaults=False)
        except Exception as error:  # YAML of others
            raise SteeringError(
                f"the tasks of --include_path {include_path} cannot be read ({tell(error)}): correct the file"
            ) from None
        if name in theirs.all_tasks:
            return theirs
    ours = own_manager()
    return ours if name in ours.all_tasks else TaskManager()


def _members(name: str, manager: TaskManager) -> Iterator[str]:
    """The tasks of a group or tag, groups within it resolved."""
    entry = manager.task_index.get(name)
    if entry is None or name in manager.all_subtasks:
        yield name
    elif name in manager.all_tags:
        yield from sorted(entry.tags)
    else:
        below = (entry.cfg or {}).get("task") or []
        for one in [below] if isinstance(below, (str, dict)) else below:
            child = one if isinstance(one, str) else one.get("task", one.get("group"))
            for each in [child] if isinstance(child, str) else (child or []):
                if isinstance(each, str) and each != name:
                    yield from _members(each, manager)


def _listed(docs: Any) -> Sequence[Any]:
    return docs if hasattr(docs, "__getitem__") and hasattr(docs, "__len__") else list(docs)
