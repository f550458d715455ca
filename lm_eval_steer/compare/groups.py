"""Which runs may stand side by side: the same task under the same conditions. Others are apart, and say why."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from pathlib import Path

from lm_eval_steer.compare.arms import BASELINE
from lm_eval_steer.compare.run import Run
from lm_eval_steer.compare.sweeps import part_of
from lm_eval_steer.compare.validation import half_of
from lm_eval_steer.text import printable

Key = Mapping[str, str | None]

Part = tuple[Key, dict[str, Key], list[Run]]
"""Shared conditions, those of each child, runs."""

_FOLLOWS = {
    "which documents": ("limit", "task version", "test documents"),
    "prompts": (
        *("shots", "chat template", "system prompt", "system_role", "task version", "limit", "which documents"),
        *("test documents", "template", "template's date"),
    ),
    "template": ("chat template",),
}
"""Conditions that differ because of others, which are named in their place."""


@dataclass(eq=False)
class Group:
    """Runs that can be compared; no two groups are equal.

    Attributes:
        task: its name.
        letter: its own where the task has several groups.
        differs: what tells it from the task's other groups: condition -> its value here.
        runs: in order of path.
    """

    task: str
    letter: str
    differs: dict[str, str]
    runs: list[Run] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The task's, with the letter."""
        return printable(f"{self.task} ({self.letter})" if self.letter else self.task)


def name_models(runs: list[Run]) -> list[Run]:
    """The runs, with one name for a model that lay in several places: weights of one digest are one child.

    Runs that tell no digest go by name, like those of that name that do.
    """
    first: dict[str, str] = {}
    names: dict[str, set[str]] = {}
    for run in runs:
        if run.weights:
            names.setdefault(run.child, set()).add(first.setdefault(run.weights, run.child))
    return [
        replace(run, child=first[run.weights] if run.weights else _only(names.get(run.child, set()), run.child))
        for run in runs
    ]


def _only(names: set[str], name: str) -> str:
    return next(iter(names)) if len(names) == 1 else name


def group_runs(runs: list[Run]) -> list[Group]:
    """The groups of all tasks, in order of task.

    Conditions that belong to the evaluation (documents, shots, dtype, ...) hold for all children of a group; those that
    belong to a child (its template, its revision, hence its prompts) hold for the runs of that child.
    """
    groups = []
    runs, beside = _part_others(runs)
    for task in sorted({run.task for run in runs}):
        shared = _partition([run for run in runs if run.task == task], _shared)
        parts: list[Part] = []
        for conditions, members in shared:
            of_child = {
                child: _partition([run for run in members if run.child == child], _own)
                for child in dict.fromkeys(run.child for run in members)
            }
            for found in zip_longest(*of_child.values()):
                here = {child: one for child, one in zip(of_child, found, strict=True) if one}
                own = {child: keys for child, (keys, _) in here.items()}
                parts.append((conditions, own, [run for _, of_part in here.values() for run in of_part]))
        for place, (conditions, own, members) in enumerate(parts):
            letter = "" if len(parts) == 1 else _letters(place)
            members = [one for run in members for one in (run, *beside.get((run.path, run.task), ()))]
            groups.append(Group(task, letter, _differences(conditions, own, parts), members))
    return groups


def _part_others(runs: list[Run]) -> tuple[list[Run], dict[tuple[Path, str], list[Run]]]:
    """Runs without the baselines of another kind in sweeps, and these by result file of the baseline that they stand
    beside: whatever their prompts and their model, they are of its group and its child."""
    places = {id(run): part_of(run.path, run.task) for run in runs}
    baselines = {(part.folder, run.task): run for run in runs if (part := places[id(run)]) and part.arm == BASELINE}
    kept: list[Run] = []
    beside: dict[tuple[Path, str], list[Run]] = {}
    for run in runs:
        part = places[id(run)]
        first = baselines.get((part.folder, run.task)) if part and part.arm.other else None
        if first is None:
            kept.append(run)
        else:
            beside.setdefault((first.path, first.task), []).append(replace(run, child=first.child))
    return kept, beside


def _shared(run: Run) -> Key:
    part = part_of(run.path, run.task)
    half = half_of(part.documents) if part and part.documents else None
    return {**run.conditions, "test documents": half, "which documents": run.documents}


def _own(run: Run) -> Key:
    return {**run.own_conditions, "weights": run.weights, "prompts": run.prompts}


def _partition(runs: list[Run], key: Callable[[Run], Key]) -> list[tuple[Key, list[Run]]]:
    """Runs by equal keys. One that leaves something open joins where nothing that it says is denied, if only there."""
    found: list[tuple[Key, list[Run]]] = []
    for run in sorted(runs, key=lambda run: list(key(run).values()).count(None)):
        wanted = key(run)
        same = [place for place, (other, _) in enumerate(found) if other == wanted]
        if not same and None in wanted.values():
            same = [place for place, (other, _) in enumerate(found) if _agree(other, wanted)]
        if len(same) == 1:
            other, members = found[same[0]]
            told = {name: wanted[name] if value is None else value for name, value in other.items()}
            found[same[0]] = (told, [*members, run])
        else:
            found.append((wanted, [run]))
    return [(wanted, sorted(members, key=lambda run: run.path)) for wanted, members in found]


def _agree(one: Key, other: Key) -> bool:
    return one.keys() == other.keys() and all(
        None in (one[name], other[name]) or one[name] == other[name] for name in one
    )


def _differences(conditions: Key, own: Mapping[str, Key], parts: list[Part]) -> dict[str, str]:
    found: dict[str, str] = {}
    of_children = [(mine, [keys[child] for _, keys, _ in parts if child in keys]) for child, mine in own.items()]
    for mine, others in [(conditions, [other for other, _, _ in parts]), *of_children]:
        for name in dict.fromkeys(name for other in others for name in other):
            if len({other.get(name, "none") for other in others}) > 1:
                value = _show(name, mine.get(name, "none"))
                found[name] = value if found.get(name, value) == value else f"{found[name]}; {value}"
    return {name: value for name, value in found.items() if not any(cause in found for cause in _FOLLOWS.get(name, ()))}


def _show(name: str, value: str | None) -> str:
    if value is None:
        return "not recorded" if name == "weights" else "unknown without --log_samples"
    return value[:8] if name == "weights" else value


def _letters(place: int) -> str:
    """A, B, ..., Z, AA, ..."""
    return (_letters(place // 26 - 1) if place >= 26 else "") + chr(ord("A") + place % 26)
