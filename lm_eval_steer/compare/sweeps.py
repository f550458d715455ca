"""What sweep.json says about a result file below it: which arm it is, how α was chosen, what it cost."""

from __future__ import annotations

import functools
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lm_eval_steer.compare.result_files import CONTROL
from lm_eval_steer.compare.runs import Run
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.files import parse_json, read_text
from lm_eval_steer.interventions.controls import kind_of
from lm_eval_steer.shapes import (
    ANY,
    COUNT,
    NUMBER,
    OBJECT,
    SAID_NUMBER,
    SECONDS,
    TEXT,
    YES_OR_NO,
    Kind,
    Parts,
    Table,
    check,
)

VERSION = 1

_STEERED = re.compile(r"(?:(?P<control>[\w:-]+) )?(?:best|vote|per-layer)", re.ASCII)


def _is_arm(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    found = _STEERED.fullmatch(value)
    unsteered = value == "baseline" or not kind_of(value).steers
    return unsteered if found is None else CONTROL.test(found["control"] or "")


_VECTOR_OR_CONTROL = Kind("the vector or a control", lambda value: value == "vector" or CONTROL.test(value))
_SCORE = Kind("a number or null", lambda value: value is None or NUMBER.test(value))
_VALIDATION = Parts(
    {"task": TEXT},
    {"n": COUNT, "metric": TEXT, "best": OBJECT, "scores": Table(Table(_SCORE, SAID_NUMBER), _VECTOR_OR_CONTROL)},
)
_TASK = Parts(
    {
        "validation": _VALIDATION,
        "test": Table(Parts({"result": TEXT}, {"tokens": COUNT}), Kind("the name of an arm", _is_arm)),
        "passes": Table(Parts({"seconds": SECONDS})),
    }
)
_ANY_STATE = Parts({"version": ANY})
_STATE = Parts({"tasks": Table(_TASK), "complete": YES_OR_NO})


@dataclass(frozen=True)
class Part:
    """A result file's place in a sweep.

    Attributes:
        folder: of the sweep.
        arm: `baseline`, `best`, `random:1 vote`, ...
        tokens: generated for the arm; None where unknown.
        seconds: spent on the vector, on `validation` and on `test`; without its controls.
        validation: how α was chosen, as in sweep.json.
        complete: whether the sweep is done.
    """

    folder: Path
    arm: str
    tokens: int | None
    seconds: dict[str, float]
    validation: dict[str, Any]
    complete: bool


def part_of(path: Path, task: str) -> Part | None:
    """The place of a result file, DIR/arms/<task>/<arm>/<model>/results_*.json, in the sweep of DIR.

    Raises:
        SteeringError: for a sweep.json that is not one, or of another version.
    """
    path = path.resolve()
    if len(path.parents) < 5 or path.parents[3].name != "arms":
        return None
    folder = path.parents[4]
    file = folder / "sweep.json"
    if not os.path.lexists(file):
        return None
    state = _read(file)
    found = state["tasks"].get(task)
    for arm, entry in found["test"].items() if found else ():
        if folder / entry["result"] == path:
            validation = found["validation"]
            spent = {
                "validation": _seconds(found["passes"], validation["task"]),
                "test": _seconds(found["passes"], task),
            }
            return Part(folder, arm, entry.get("tokens"), spent, validation, state["complete"])
    return None


def leave_out_broken(runs: list[Run]) -> tuple[list[Run], list[str]]:
    """Runs without those of sweeps whose sweep.json cannot be read, and a sentence for each of these sweeps.

    Nobody knows which of their strengths was chosen on validation rows.
    """
    kept: list[Run] = []
    sentences: dict[str, None] = {}
    for run in runs:
        try:
            part_of(run.path, run.task)
            kept.append(run)
        except SteeringError as error:
            sentences[str(error)] = None
    return kept, list(sentences)


def _seconds(passes: dict[str, Any], task: str) -> float:
    """Of the vector's passes over a task."""
    return float(sum(one["seconds"] for name, one in passes.items() if f"{name} ".startswith(f"{task}, vector ")))


@functools.lru_cache(maxsize=64)
def _parse(file: Path, size: int, time: int) -> dict[str, Any]:
    state = parse_json(read_text(file, "the state of a sweep"))
    check(state, _ANY_STATE, "its content")
    if state["version"] == VERSION:
        check(state, _STATE, "its content")
    return dict(state)


def _read(file: Path) -> dict[str, Any]:
    try:
        state = _parse(file, file.stat().st_size, file.stat().st_mtime_ns)
    except SteeringError:
        raise
    except (OSError, ValueError) as error:
        raise SteeringError(f"{file} is no whole sweep.json ({error}): start the sweep again, it goes on") from None
    if state["version"] != VERSION:
        raise SteeringError(
            f"{file} is of version {state['version']!r}, but this lm_eval_steer reads version {VERSION}: use the "
            "lm_eval_steer that wrote it, or sweep again"
        )
    return state
