"""Families of tests, over which Holm's adjustment goes, and what their tests are called."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from lm_eval_steer.compare.arms import ONE, Arm
from lm_eval_steer.compare.rows import Row

ALPHA = 0.05
"""Chance, at most, that a family without any effect has a verdict."""


FAMILIES = ("task", "study")
"""How far a family may go: one child and task, or all children and tasks that are read."""

STUDY = ("", "")
"""Child and task of a family of all of them."""


@dataclass(frozen=True)
class Family:
    """The tests over which Holm's adjustment goes.

    Attributes:
        child: name or path; empty for that of a whole study, like the task.
        task: its name; `members of GROUP` for all that lies in one.
        tests: their names.
    """

    child: str
    task: str
    tests: list[str]


def family_of(row: Row, family: str) -> tuple[str, str]:
    """Child and task of the family that tests of a row belong to.

    Args:
        row: of the leaderboard.
        family: one of `FAMILIES`; members of a group are a family of their child and group in both.
    """
    if row.of_group is not None:
        return row.child, f"members of {row.of_group}"
    return STUDY if family == "study" else (row.child, row.group.task)


def name_tests(rows: list[Row], members: Iterable[tuple[int, Arm]]) -> dict[tuple[int, Arm], str]:
    """The arm's name, with as much of child, task, vector, group and number as tells it from the others."""
    names = {(n, arm): f"alpha {arm.name}" if arm.role == ONE and not arm.control else arm.name for n, arm in members}
    for more in (
        lambda row: row.child,
        lambda row: row.group.task,
        lambda row: row.vector,
        lambda row: row.parent,
        lambda row: row.group.letter,
        lambda row: str(row.any_run.path.parent),
    ):
        if len(set(names.values())) == len(names):
            break
        if len({more(rows[number]) for number, _ in members}) > 1:
            names = {key: f"{name} [{more(rows[key[0]])}]" for key, name in names.items()}
    if len(set(names.values())) < len(names):
        names = {key: f"{name}, run {place}" for place, (key, name) in enumerate(names.items(), start=1)}
    return names
