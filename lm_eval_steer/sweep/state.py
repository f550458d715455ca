"""From which state a sweep goes on: what an earlier start found, if that was of the same settings (docs/SWEEP.md)."""

from __future__ import annotations

import copy
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lm_eval_steer.compare.arms import VECTOR
from lm_eval_steer.compare.sweep_file import VERSION, check_sweep, parse_sweep
from lm_eval_steer.compare.validation import tell_validation
from lm_eval_steer.errors import SteeringError

logger = logging.getLogger(f"lm_eval.{__name__}")  # lm_eval shows what the children of its own logger say

VOLATILE = ("passes", "result", "digest", "doses", "unfinished")
"""Keys, at any depth, whose values differ between two sweeps that are otherwise the same."""

_GROWS = ("controls",)
"""Lists to which a later start may add; it may add tasks and vectors, too."""


_JOINS = ("per_layer", "cost")
"""What a later start may ask for, where none did before."""

_ADDED: Mapping[str, Any] = {
    **dict.fromkeys(("metric", "votes", "sites", "search", "cost", "choose")),
    **{"baselines": {}, "groups": {}},
}
"""What older releases do not say, and did."""


def read_state(folder: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The state from which to go on; a new one in a new folder.

    What was found is taken only whole: where it is damaged, it is found again, from the record.

    Raises:
        SteeringError: for a folder that another sweep was started in, with the setting that differs and both values,
            and for a sweep.json that is not one.
    """
    path = folder / "sweep.json"
    now = json.loads(json.dumps(settings))
    new = {"version": VERSION, "volatile": list(VOLATILE), "complete": False, "settings": now, "tasks": {}}
    try:
        path.lstat()
    except FileNotFoundError:
        return new
    state = copy.deepcopy(parse_sweep(path))
    try:
        if state["tasks"] == {}:
            return new  # no pass of it ended: no response of it counts, and whatever was wrong with it may be corrected
        old = state["settings"]
        _compare(folder, old, now)
        of_other_weights = None not in (old["weights"], now["weights"]) and old["weights"] != now["weights"]
        if of_other_weights and state["complete"]:
            raise SteeringError(
                f"the weights (or tokenizer, configuration, template) of {now['model_args'].get('pretrained')} changed "
                f"since the sweep in {folder} ended: it has {old['weights'][:12]}, now they are "
                f"{now['weights'][:12]}; bring the old ones back, or name another --output_path"
            )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, SteeringError):
            raise
        raise SteeringError(
            f"{path} is no whole sweep.json ({error!r}): remove it or name another --output_path"
        ) from None
    try:
        check_sweep(state)
    except ValueError as error:
        logger.warning("%s is damaged (%s): what it said is found again, from the record", path, error)
        return new
    if of_other_weights:
        logger.warning("the weights changed since the sweep in %s was started: it begins anew with these", folder)
        return new
    # Older releases say of validation documents no more than their task, and of a model that was not there no weights.
    same = {**_ADDED} | {"validation": now["validation"]} | old | {"weights": now["weights"]} == now
    return {**state, "settings": now, "complete": state["complete"] and same}


def without_volatile(content: Any) -> Any:
    """The state without what differs between two sweeps that are otherwise the same."""
    if isinstance(content, dict):
        return {key: without_volatile(value) for key, value in content.items() if key not in VOLATILE}
    return [without_volatile(value) for value in content] if isinstance(content, list) else content


def _compare(folder: Path, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    # An argument that changed changes what is asked, too, and says more of it.
    for key in sorted(dict.fromkeys([*old, *new]), key=lambda key: key == "asked"):
        before: Any = old.get(key)
        now: Any = new.get(key)
        if key == "model_args":
            for name in dict.fromkeys([*before, *now]):
                if before.get(name) != now.get(name):
                    _refuse(folder, f"{name} in --model_args", before.get(name), now.get(name))
        elif key == "vectors":
            for name in before:
                if before[name] != now.get(name):
                    _refuse(folder, "vector" if name == VECTOR else f"vector {name}", before[name], now.get(name))
            if next(iter(before)) != next(iter(now)):
                _refuse(
                    folder,
                    "first vector, of which the baseline and the controls of all are",
                    next(iter(before)),
                    next(iter(now)),
                )
        elif key == "tasks":
            for name in before:
                if before[name] != now.get(name):
                    _refuse(folder, f"validation task of {name}", before[name], now.get(name))
        elif key == "groups":
            for name in before or ():
                if name in now and before[name] != now[name]:
                    _refuse(folder, f"group {name}", before[name], now[name])
        elif key == "asked":
            for name in before:
                if name in now and before[name] != now[name]:
                    raise SteeringError(
                        f"the task {name} (its documents, prompts, answers, filters or metrics) changed since the "
                        f"sweep in {folder} was started: it has {before[name][:12]}, now they are {now[name][:12]}; "
                        "bring the old ones back, or name another --output_path"
                    )
        elif key == "validation":
            for name in set(before or ()) & set(now):
                if before[name].get("share") != now[name].get("share"):
                    _refuse(folder, f"--val_share of {name}", before[name]["share"], now[name]["share"])
        elif key == "weights":
            continue  # read_state has more to say of them
        elif key == "baselines":
            _compare_baselines(folder, before or {}, now)
        elif key == "votes":
            if now is not None and (before is None or not set(before) <= set(now)):
                _refuse(folder, key, before, now)
        elif key in _GROWS:
            if not set(before or ()) <= set(now):
                _refuse(folder, key, before, now)
        elif before != now and not (key in _JOINS and before is None):
            _refuse(folder, key, before, now)
    for name, known in (old.get("validation") or {}).items():  # those beyond a limit are not asked
        found = new["validation"].get(name, known)
        if found != known:
            task = new["tasks"][name]
            raise SteeringError(
                f"the documents of {name} changed since the sweep in {folder} was started: there "
                f"{tell_validation(task, known)} ({_hashes(known)}), now {tell_validation(task, found)} "
                f"({_hashes(found)}); bring the old ones back, or name another --output_path"
            )


def _compare_baselines(folder: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Others may be added; prompts are a set to choose from, as strengths are."""
    for name, known in before.items():
        found = now.get(name)
        if isinstance(known, dict) and isinstance(found, dict) and None in (known["weights"], found["weights"]):
            known, found = known["model"], found["model"]  # a model that is not on this machine (any more)
        if known != found:
            _refuse(folder, f"{name} in --arms", known, found)


def _hashes(facts: Mapping[str, Any]) -> str:
    return " and ".join(facts[part]["sha256"][:8] for part in ("validation", "test"))


def _refuse(folder: Path, key: str, before: Any, now: Any) -> None:
    raise SteeringError(
        f"{folder} holds a sweep with another {key}: it has {before!r}, this one {now!r}; name another --output_path, "
        "or start it as before (controls, votes, tasks, what --arms names, --per-layer and --cost may be added)"
    )
