"""How numbers and arms read in the tables."""

from __future__ import annotations

from typing import Any

from cells import MODELS, SHORT, Cell
from lines import Line, Numbers, Summary


def percent(value: float, unit: str = " %") -> str:
    """A share, to a tenth below ten points of precision that nobody has: `48.4 %`."""
    return f"{100 * value:.1f}{unit}"


def score(found: Numbers) -> str:
    """With its interval, or the range of its seeds."""
    return f"{percent(found['score'])} ({100 * found['low']:.1f} to {100 * found['high']:.1f})"


def change(line: Line) -> str:
    """Against the baseline, in points."""
    found = line.change
    return f"{100 * found['change']:+.1f} ({100 * found['low']:+.1f} to {100 * found['high']:+.1f})" if found else ""


def number(value: Any) -> str:
    """A p."""
    if value is None:
        return ""
    return f"{value:.2g}" if value >= 1e-4 else f"{value:.0e}"


def engine(summary: Summary) -> str:
    """The model class that a cell was run by."""
    return {"vllm": "steered-vllm", "transformers": "steered-hf"}[summary["groups"][0]["conditions"]["engine"]]


_PARENTS = {short: MODELS[name] for name, short in SHORT.items()}


def name_of(line: Line, cell: Cell) -> str:
    """An arm in words."""
    arm, _, way = line.arm.partition("-")
    if line.arm == "baseline":
        return "unsteered"
    if line.arm == "random":
        name = f"random directions{_mean(line)}" if line.seeds > 1 else "a random direction"
    elif line.arm == "own":
        name = "the child's own vector"
    elif line.arm == "cut":
        name = f"{MODELS[cell.parents[0]]}'s, the paper's cut"
    elif arm in _PARENTS:
        name = f"{_PARENTS[arm]}'s, by {'ridge' if way == 'ridge' else 'a rotation'}"
    elif line.arm == "prompt":
        return f'the prompt "{cell.others[0].partition("=")[2]}"'
    elif line.arm == "self-consistency":
        return "self-consistency"
    else:
        return line.arm
    if line.control == "map-shuffled":
        name = f"{name}, fitted on texts paired at random{_mean(line)}"
    elif line.control == "negated":
        name = f"{name}, negated"
    return f"{name}, vote" if line.role == "vote" else name


def _mean(line: Line) -> str:
    return f", mean of {line.seeds}" if line.seeds > 1 else ""
