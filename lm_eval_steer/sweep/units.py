"""What `--tasks` names: tasks, groups that are searched and scored as one, tags and wildcards.

A *unit* gets one strength and one score: a task, or a group by its own rule, the harness's `aggregate_metric_list`.
Tags, and groups without such a rule, stand for their tasks one by one; a wildcard stands for all that it matches.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lm_eval.api.group import Group
from lm_eval.tasks import TaskManager
from lm_eval.tasks._index import Kind
from lm_eval.tasks._yaml_loader import load_yaml

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.sweep.harness import HarnessArgs, random_state, restore, same_state
from lm_eval_steer.sweep.metric import choose_of_group, declared, rule_of
from lm_eval_steer.sweep.requests import GroupRequests, Requests
from lm_eval_steer.sweep.tasks import Read, Twin, build, first_line, load

_SIGNS = frozenset("*?[")
"""By any of which a name is a wildcard, as the harness's own matching has it."""


@dataclass(frozen=True)
class Unit:
    """A task, or a group whose members share a strength.

    Attributes:
        name: of the task or the group.
        members: names of its tasks: of a task its own.
        group: of the harness, with its members; None for a task.
        metric: by which a group is scored, `name,filter`; None for a task.
        of: of a task that has a strength of its own where its group has a score: the group's name and its rule, as
            sweep.json has them.
    """

    name: str
    members: tuple[str, ...]
    group: Group | None = None
    metric: str | None = None
    of: Mapping[str, Any] | None = None

    @property
    def rule(self) -> str:
        """A digest of how members become the group's score, by which a later start notices another rule."""
        rules = [asdict(one) | {"aggregation": str(one.aggregation)} for one in _rules(self.group)]
        return hashlib.sha256(json.dumps([self.members, rules]).encode()).hexdigest()

    def gather(self, parts: Sequence[Requests], name: str) -> Requests:
        """The requests of all members in one, in their order; those of a task as they are.

        Args:
            parts: the requests of each member.
            name: of the whole.
        """
        if self.group is None:
            return parts[0]
        tasks = dict(zip(self.members, (one.task for one in parts), strict=True))
        no_vote = next((one.no_vote for one in parts if one.no_vote), None)
        instances = [instance for one in parts for instance in one.instances]
        return GroupRequests(regroup(self.group, tasks), name, instances, no_vote, tuple(parts))

    def pool(self, twins: Mapping[str, Twin]) -> Twin:
        """What it is searched on, all members' documents together; `twins` has those of each."""
        if self.group is None:
            return twins[self.name]
        members = {name: twins[name].facts for name in self.members}
        sides = {side: _add([one[side] for one in members.values()]) for side in ("validation", "test")}
        return Twin(f"{self.name}:validation", {"kind": "group", **sides, "members": members})


def _add(sides: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    text = "\n".join(one["sha256"] for one in sides)
    return {"n": sum(one["n"] for one in sides), "sha256": hashlib.sha256(text.encode()).hexdigest()}


def regroup(group: Group, tasks: Mapping[str, Any]) -> Group:
    """The group and its subgroups with other tasks in place of the members; `tasks` has one for each name."""
    one = copy.copy(group)
    one._children = {}
    for name, child in group._children.items():
        one.add(regroup(child, tasks) if isinstance(child, Group) else tasks[name])
    return one


def find_units(
    given: Sequence[str],
    manager: TaskManager,
    harness: HarnessArgs,
    known: dict[str, Read],
    limit: float | None = None,
    metric: str | None = None,
    per_task: bool = False,
    tell: Callable[[str], object] = id,
) -> list[Unit]:
    """What `--tasks` names, each task once, in its order.

    Args:
        given: names of tasks, groups and tags, and wildcards.
        manager: of the tasks.
        harness: how they are asked.
        known: takes the tasks of groups, which are read here.
        limit: documents of a test task.
        metric: that groups are scored by, with a filter or without; None for the first of each.
        per_task: members of groups are units of their own.
        tell: takes a sentence on every name that is not taken as it stands.

    Raises:
        SteeringError: for a wildcard without a match, a task that is named twice, a group whose members cannot be
            loaded, share no type or lack the metric.
    """
    names = [name for one in given for name in (_match(one, manager, tell) if _SIGNS & set(one) else [one])]
    _refuse_twice(names, manager)
    units: list[Unit] = []
    for name in names:
        kind = _kind(name, manager)
        if kind == Kind.TAG:
            tasks = sorted(manager.task_index[name].tags)
            tell(f"{name} is a tag: its {len(tasks)} tasks are swept one by one")
            units += [Unit(task, (task,)) for task in tasks if _named_once(task, units)]
        elif kind == Kind.GROUP:
            units += _of_group(_load_group(name, manager, harness, known, limit), metric, per_task, tell)
        elif _named_once(name, units):
            units.append(Unit(name, (name,)))
    return units


def refuse_twins(given: Sequence[str], val_tasks: Sequence[str], units: Sequence[Unit]) -> None:
    """Refuse --val_task where --tasks names more than single tasks.

    Raises:
        SteeringError: then.
    """
    several = [name for name in given if Unit(name, (name,)) not in units]
    if val_tasks and several:
        raise SteeringError(
            f"--val_task {','.join(val_tasks)} is given for {several[0]} in --tasks, which is no single task: leave it "
            "out, for each of its tasks has validation documents of its own, or name the tasks"
        )


def refuse_groups(units: Sequence[Unit]) -> None:
    """Refuse, of a race, groups whose members share a strength.

    Raises:
        SteeringError: then.
    """
    for one in units:
        if one.group is not None:
            raise SteeringError(
                f"--search race compares documents of one task, and {one.name} is a group of {len(one.members)} tasks "
                "that share a strength: add --per_task, or leave --search out"
            )


def _named_once(name: str, units: Sequence[Unit]) -> bool:
    """Whether no unit is this task: the harness takes the tasks of two tags once, too."""
    return all(name != one.name for one in units)


def _kind(name: str, manager: TaskManager) -> Kind:
    return manager.task_index[name].kind if name in manager.task_index else Kind.UNKNOWN


def _match(pattern: str, manager: TaskManager, tell: Callable[[str], object]) -> list[str]:
    """What a wildcard matches, without what is in a group that it matches, too."""
    found = manager.match_tasks([pattern])
    if not found:
        raise SteeringError(
            f"--tasks {pattern} matches no task, group or tag: see lm_eval ls tasks, or name the folder of your own "
            "with --include_path"
        )
    inside = {leaf for name in found if _kind(name, manager) == Kind.GROUP for leaf in _inside(name, manager)}
    tags = {name for name in found if _kind(name, manager) == Kind.TAG and leaves(name, manager) <= inside}
    kept = [name for name in found if name not in inside | tags]
    more = f", without {len(found) - len(kept)} that lie in these" if len(kept) < len(found) else ""
    tell(f"{pattern} matches {', '.join(kept)}{more}")
    return kept


def leaves(name: str, manager: TaskManager) -> set[str]:
    """The tasks that a name stands for; nothing is loaded."""
    kind = _kind(name, manager)
    if kind == Kind.TAG:
        return set(manager.task_index[name].tags)
    if kind == Kind.GROUP:
        return {one for one in _inside(name, manager) if _kind(one, manager) not in (Kind.TAG, Kind.GROUP)}
    return {name}


def _inside(name: str, manager: TaskManager) -> set[str]:
    """All that a group holds: tasks, subgroups, and the tags that it names."""
    entry = manager.task_index[name]
    config = load_yaml(entry.yaml_path, resolve_func=False) if entry.yaml_path else entry.cfg or {}
    return set(_walk(config.get("task"), name, manager))


def _walk(listed: Any, group: str, manager: TaskManager) -> Iterator[str]:
    """Names in a group's `task:`, inline tasks and groups among them, as the harness calls these."""
    for item in listed if isinstance(listed, list) else [listed] if listed else []:
        given = item if isinstance(item, str) else item.get("group") or item.get("task")
        name = str(given)
        if name not in manager.task_index:
            name = f"{group}::{name}"
            yield name
            if isinstance(item, dict) and "group" in item:
                yield from _walk(item.get("task"), name, manager)
            continue
        yield name
        if _kind(name, manager) == Kind.GROUP:
            yield from _inside(name, manager)
        elif _kind(name, manager) == Kind.TAG:
            yield from manager.task_index[name].tags


def _refuse_twice(names: Sequence[str], manager: TaskManager) -> None:
    """Refuse a task that two names hold, of which one is a group; the harness does, too."""
    seen: dict[str, str] = {}
    for name in names:
        for leaf in sorted(leaves(name, manager)):
            other = seen.setdefault(leaf, name)
            if other != name and Kind.GROUP in (_kind(other, manager), _kind(name, manager)):
                places = [f"in {one}" if one != leaf else "by itself" for one in (other, name)]
                raise SteeringError(
                    f"--tasks names the task {leaf} twice, {' and '.join(places)}: leave one of them out"
                )


def _load_group(
    name: str, manager: TaskManager, harness: HarnessArgs, known: dict[str, Read], limit: float | None
) -> Group:
    """A group with its tasks, which `known` takes with the states that a run of the group builds their requests in."""
    try:
        loaded = harness.load_all(name, manager)
    except SteeringError:
        raise
    except Exception as error:  # data sets and tasks of others fail in ways of their own
        for leaf in sorted(leaves(name, manager)):
            if leaf in manager.task_index:
                try:
                    load(leaf, manager, harness)
                except SteeringError as found:
                    raise SteeringError(f"{found}; it is a member of the group {name}") from None
        raise SteeringError(
            f"the group {name} cannot be loaded ({first_line(error)}): see that the data of its tasks is in reach"
        ) from None
    for task_name, task in loaded["tasks"].items():
        state = random_state()
        known[task_name] = Read(task, state)
        build(task_name, manager, None, 1, False, harness, known)
        if not same_state(state):  # the next one goes on from where this one ends
            build(task_name, manager, None, limit, False, harness, known)
        else:
            restore(state)
    group: Group = loaded["groups"][name]
    return group


def _rules(group: Group | None) -> list[Any]:
    return list((group.aggregate_metric_list if group is not None else None) or ())


def _of_group(group: Group, metric: str | None, per_task: bool, tell: Callable[[str], object]) -> list[Unit]:
    """The group as one unit; its members where it has no rule, and where each is to have a strength of its own."""
    tasks = {task.task_name: task for task in group.get_all_tasks()}
    if not tasks:
        raise SteeringError(f"--tasks {group.name} is a group without tasks: name another")
    if per_task or not _rules(group):
        why = "each has a strength of its own" if per_task else "it says no aggregate_metric_list, so it has no score"
        tell(f"{group.name} is a group of {len(tasks)} tasks, which are swept one by one: {why}")
        if per_task:
            of = _of(group, tasks, metric, tell) if _rules(group) else None
            return [Unit(name, (name,), of=of) for name in tasks]
        units: list[Unit] = []
        for child in group:
            if isinstance(child, Group):
                units += _of_group(child, metric, per_task, tell)
            else:
                units.append(Unit(child.task_name, (child.task_name,)))
        return units
    _refuse_mixed(group.name, "output types", {name: str(task.OUTPUT_TYPE) for name, task in tasks.items()})
    chosen = _metric_of(group, tasks, metric)
    share = f"which share a strength and a score, {_show_rule(group, chosen)}"
    tell(f"{group.name} is a group of {len(tasks)} tasks, {share}")
    return [Unit(group.name, tuple(tasks), group, chosen)]


def _of(
    group: Group, tasks: Mapping[str, Any], metric: str | None, tell: Callable[[str], object]
) -> dict[str, Any] | None:
    """The rule by which the tasks' scores become the group's; None where they have no metric in common."""
    try:
        chosen = _metric_of(group, tasks, metric)
    except SteeringError as error:
        tell(f"{group.name} has no row of its own: {error}")
        return None
    by_size = rule_of(_rules(group), chosen).weight_by_size
    return {"name": group.name, "rule": {"members": list(tasks), "metric": chosen, "weight_by_size": by_size}}


def _metric_of(group: Group, tasks: Mapping[str, Any], metric: str | None) -> str:
    """The metric of a group, which all members have and which points one way."""
    members = {name: declared(task) for name, task in tasks.items()}
    chosen = choose_of_group(group.name, _rules(group), members, metric)
    ways = {name: (task.higher_is_better() or {}).get(chosen.split(",")[0], True) for name, task in tasks.items()}
    told = {name: "higher is better" if way else "lower is better" for name, way in ways.items()}
    _refuse_mixed(group.name, f"directions of {chosen.split(',')[0]}", told)
    return chosen


def _show_rule(group: Group, metric: str) -> str:
    by_size = rule_of(_rules(group), metric).weight_by_size
    return f"the mean of {metric.split(',')[0]} over {'all documents' if by_size else 'tasks'}"


def _refuse_mixed(group: str, what: str, found: Mapping[str, str]) -> None:
    """Refuse members of several kinds under one strength."""
    kinds: dict[str, str] = {}
    for name, kind in found.items():
        kinds.setdefault(kind, name)
    if len(kinds) > 1:
        told = ", ".join(f"{kind} of {name}" for kind, name in kinds.items())
        raise SteeringError(
            f"the members of the group {group} have several {what} ({told}), so no one strength is best for all: add "
            "--per_task, or name tasks of one kind"
        )
