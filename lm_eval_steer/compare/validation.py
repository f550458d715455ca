"""Which documents strengths were chosen on and which they were tested on, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any

from lm_eval_steer.shapes import COUNT, NUMBER, OBJECT, TEXT, Kind, Parts, Shape, Table, check

_SIDES: dict[str, Shape] = dict.fromkeys(("validation", "test"), Parts({"n": COUNT, "sha256": TEXT}))
_LEFT_OUT = {"left_out": Table(COUNT)}
_KINDS: dict[str, Shape] = {
    "twin": Parts(_SIDES),
    "split": Parts(_SIDES | _LEFT_OUT | {"split": TEXT}),
    "share": Parts(_SIDES | _LEFT_OUT | {"share": NUMBER, "seed": COUNT}),
}
_KINDS["group"] = Parts(_SIDES | {"members": Table(OBJECT, least=1)})
_ANY_KIND = Parts({"kind": Kind(f"one of {', '.join(_KINDS)}", lambda value: value in list(_KINDS))})


def check_validation(found: Any, name: str) -> None:
    """Check `settings.validation` of sweep.json with all its parts.

    Raises:
        ValueError: names the part that is wrong, what it is, and what was expected.
    """
    check(found, Table(_ANY_KIND), name)
    for task, facts in found.items():
        check(facts, _KINDS[facts["kind"]], f"{name}.{task}")
        if facts["kind"] == "group":
            check_validation(facts["members"], f"{name}.{task}.members")


def tell_validation(task: str, facts: Mapping[str, Any], limits: Sequence[float | None] = (None, None)) -> str:
    """The end of a sentence about a test task.

    Args:
        task: the validation task.
        facts: of `settings.validation` in sweep.json.
        limits: of the documents of validation and test that were taken, numbers or shares below 1; None for all.
    """
    both = [facts[half]["n"] for half in ("validation", "test")]
    taken = [_taken(facts, half, limit) for half, limit in zip(("validation", "test"), limits, strict=True)]
    told = _tell(task, facts)
    if taken == both:
        return told
    if facts["kind"] == "group":
        return f"{told}; limits leave {taken[0]} and {taken[1]} of them, the first of each task"
    return f"{told}; limits leave the first {taken[0]} and the first {taken[1]} of them"


def _taken(facts: Mapping[str, Any], half: str, limit: float | None) -> int:
    """How many documents a limit leaves, which goes for each member of a group by itself."""
    if facts["kind"] == "group":
        return sum(_taken(member, half, limit) for member in facts["members"].values())
    n = int(facts[half]["n"])
    return n if limit is None else min(n, ceil(n * limit) if limit < 1 else int(limit))


def _tell(task: str, facts: Mapping[str, Any]) -> str:
    chosen, tested = facts["validation"]["n"], facts["test"]["n"]
    if facts["kind"] == "group":
        count = len(facts["members"])
        return f"strengths are chosen on {chosen} documents of its {count} tasks and tested on {tested} others"
    if facts["kind"] == "twin":
        return f"strengths are chosen on the {chosen} documents of {task} and tested on all {tested}"
    if facts["kind"] == "split":
        kept = _left_out(facts)
        source = f"{chosen} documents of its split {facts['split']}"
        return f"strengths are chosen on {source}{kept} and tested on all {tested}"
    return (
        f"strengths are chosen on {chosen} of its test documents, parted by hash (share {facts['share']:g}, seed "
        f"{facts['seed']}), and tested on {tested} others{_left_out(facts)}"
    )


def half_of(facts: Mapping[str, Any]) -> str | None:
    """Which test documents a task was left with, for conditions; None where it kept all of them."""
    if facts["kind"] == "group" and any(half_of(member) for member in facts["members"].values()):
        return f"{facts['test']['n']} documents of its tasks, parted by hash ({facts['test']['sha256'][:8]})"
    if facts["kind"] != "share":
        return None
    return f"{facts['test']['n']} documents, parted by hash ({facts['test']['sha256'][:8]})"


def _left_out(facts: Mapping[str, Any]) -> str:
    words = {"asked in the test": "ask what the test asks", "shots": "are shots", "read": "a vector was made from"}
    found = [f"{n} that {words.get(why, why)}" for why, n in facts["left_out"].items() if n]
    return f", without {' and '.join(found)}," if found else ""
