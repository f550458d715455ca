"""Whether sweep.json and the arms below it agree, so that a finished sweep can be told again without its model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lm_eval_steer.interventions.alphas import alpha_name
from lm_eval_steer.sweep.args import SweepArgs
from lm_eval_steer.sweep.arms import arm_folder, holds, result_file
from lm_eval_steer.sweep.compare import BASELINE, describe
from lm_eval_steer.sweep.score import choose
from lm_eval_steer.sweep.state import finite

VECTOR = "vector"
"""Stands for the vector itself among the controls."""


def is_finished(args: SweepArgs, state: Mapping[str, Any]) -> bool:
    """Whether every arm of a sweep is there, whole, of these arguments, and says what sweep.json says of it."""
    tasks = state["tasks"]
    return state["complete"] and all(name in tasks and _is_finished(args, name, tasks[name]) for name in args.tasks)


def _is_finished(args: SweepArgs, name: str, task: Mapping[str, Any]) -> bool:
    arms, wanted = task["test"], _arms(args, task)
    if wanted is None or wanted.keys() != arms.keys():
        return False
    for arm, changes in wanted.items():
        entry, folder = arms[arm], arm_folder(args, name, arm)
        if (entry["alpha"], entry["control"]) != (changes[args.unit], changes.get("control")):
            return False
        if result_file(folder) != args.folder / entry["result"] or not holds(
            folder, args, changes, entry.get("digest")
        ):
            return False
        found = finite(describe(args.folder, arms, arm))
        if {key: entry.get(key) for key in found} != found:
            return False
    return True


def _arms(args: SweepArgs, task: Mapping[str, Any]) -> dict[str, dict[str, Any]] | None:
    """The arms that a task must have, each with its changes to model_args; None where what was chosen does not hold."""
    unit, every = args.unit, args.alphas[0] if len(args.alphas) == 1 else list(args.alphas)
    arms: dict[str, dict[str, Any]] = {BASELINE: {unit: 0.0}}
    for control in (None, *args.arms_of_controls):
        name, prefix = (control.name, f"{control.name} ") if control else (VECTOR, "")
        more = {"control": control.name} if control else {}
        if control is None or control.steers:
            best = _best(args, task["validation"], name)
            if best is None:
                return None
            arms |= {f"{prefix}best": {unit: best} | more, f"{prefix}vote": {unit: every} | more}
            if args.per_layer is not None:
                profile = ((task.get("per_layer") or {}).get(name) or {}).get("profile")
                arms[f"{prefix}per-layer"] = {unit: best} | more | {"alpha_per_layer": profile}
        elif control.name not in task["refused"]:
            arms[control.name] = {unit: 0.0 if control.is_plain else every} | more
    return arms


def _best(args: SweepArgs, validation: Mapping[str, Any], name: str) -> float | None:
    """The strength that was chosen; None where the scores say another."""
    scores = validation["scores"].get(name, {})
    known = {alpha: scores[alpha_name(alpha)] for alpha in args.alphas if alpha_name(alpha) in scores}
    if len(known) < len(args.alphas) or validation.get("higher_is_better") is None:
        return None
    best = choose(known, validation["higher_is_better"])
    return best if validation["best"].get(name) == best else None
