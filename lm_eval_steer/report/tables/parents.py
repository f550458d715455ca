"""A sentence per parent: in how many children its vectors beat random directions."""

from __future__ import annotations

from collections.abc import Mapping

from lm_eval_steer.compare.arms import OWN
from lm_eval_steer.compare.rows import BEST, Row
from lm_eval_steer.compare.stats import BETTER

_OWNS = "The children's own vectors"


def tell_parents(rows: list[Row], names: Mapping[str, str]) -> list[str]:
    """What sweeps of several children or parents say together; nothing of a single pair.

    Args:
        rows: of the leaderboard.
        names: model -> what tables call it.
    """
    swept = [row for row in rows if BEST in row.runs and row.is_sweep]
    if len({(row.parent, row.child) for row in swept}) < 2:
        return []
    arms: dict[str, set[str]] = {}
    for row in swept:
        arms.setdefault(row.parent, set()).add(_arm(row))
    whose: dict[str, dict[str, list[Row]]] = {}
    for row in swept:
        more = f" ({_arm(row)})" if len(arms[row.parent] - {OWN}) > 1 else ""
        name = _OWNS if _arm(row) == OWN else f"Vectors of {names[row.parent]}{more}"
        whose.setdefault(name, {}).setdefault(row.group.name, []).append(row)
    return [sentence for name, tasks in whose.items() if (sentence := _tell(name, tasks, names))]


def _tell(name: str, tasks: Mapping[str, list[Row]], names: Mapping[str, str]) -> str:
    """The sentence on some vectors; empty where none of them has random controls."""
    if not any(BEST in row.random for rows in tasks.values() for row in rows):
        return ""
    found = {task: _children(rows, names) for task, rows in tasks.items()}
    told = ", ".join(_on(task, better, known) for task, (better, known) in found.items() if known)
    unknown = " and ".join(task for task, (_, known) in found.items() if not known)
    more = f"; on {unknown} nobody knows (it takes --controls random:2 or more)" if unknown else ""
    return f"{name}, each at its best strength, beat random directions {told}{more}."


def _arm(row: Row) -> str:
    """What its sweep calls the vector."""
    part = row.parts.get(BEST)
    return (part.arm.vector if part else None) or ""


def _children(rows: list[Row], names: Mapping[str, str]) -> tuple[list[str], int]:
    """The children in which the vector beats random, and of how many that is known."""
    better = [names[row.child] for row in rows if BEST in row.random and row.random[BEST].word == BETTER]
    return better, sum(BEST in row.random for row in rows)


def _on(task: str, better: list[str], known: int) -> str:
    children = "child" if known == 1 else "children"
    return f"on {task} in {len(better)} of {known} {children}" + (f" ({', '.join(better)})" if better else "")
