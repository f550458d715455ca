"""Whether sweep.json and the arms below it agree, so that a finished sweep can be told again without its model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from lm_eval_steer.compare.outcome import compare_with_own, describe
from lm_eval_steer.compare.sweep_file import finite
from lm_eval_steer.sweep.args import SweepArgs
from lm_eval_steer.sweep.arm_files import holds, result_file
from lm_eval_steer.sweep.arms import arm_folder, is_decided, members
from lm_eval_steer.sweep.costs import cost_of

_ADDED = ("metrics", "share_of_own")
"""What entries of sweeps of older releases lack, and need not have."""


_OPEN = ("interval", "p")
"""What they leave open, of scores that are no mean of right and wrong."""


def is_finished(args: SweepArgs, state: Mapping[str, Any], units: Iterable[str]) -> bool:
    """Whether every arm of these units is there, whole, of these arguments, and says what sweep.json says of it."""
    tasks = state["tasks"]
    costs = state.get("cost")
    return state["complete"] and all(name in tasks and _is_finished(args, name, tasks[name], costs) for name in units)


def _is_finished(args: SweepArgs, name: str, task: Mapping[str, Any], costs: Mapping[str, Any] | None) -> bool:
    arms, wanted = task["test"], list(members(args, task))
    if not is_decided(args, task) or {member.name for member in wanted} != arms.keys():
        return False
    shares = compare_with_own(args.folder, arms)
    for member in wanted:
        entry, folder = arms[member.name], arm_folder(args, name, member.arm)
        cost = cost_of(member, costs, task)
        if entry["alpha"] != member.strength or entry.get("cost_nll") != cost:
            return False
        if cost is None and args.cost is not None and member.is_one_strength:
            return False
        if result_file(folder) != args.folder / entry["result"] or not holds(folder, args, member, entry.get("digest")):
            return False
        found = finite(
            describe(args.folder, arms, member.name, args.metric) | {"share_of_own": shares.get(member.name)}
        )
        told = {key: entry.get(key) for key in found if key in entry or key not in _ADDED}
        if not _agree(told, {key: found[key] for key in told}):
            return False
    return True


def _agree(told: Any, found: Any) -> bool:
    """Whether what an entry says is what its result file says; what older releases left open may be said by now."""
    if isinstance(told, Mapping) and isinstance(found, Mapping):
        return told.keys() == found.keys() and all(
            (told[key] is None and key in _OPEN) or _agree(told[key], found[key]) for key in told
        )
    return bool(told == found)
