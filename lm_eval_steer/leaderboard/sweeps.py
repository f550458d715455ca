"""What sweep.json says about a result file below it: which arm it is, how α was chosen, what it cost."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lm_eval_steer.errors import SteeringError

VERSION = 1


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
    if not file.is_file():
        return None
    state = _read(file)
    try:
        found = state["tasks"].get(task, {"test": {}})
        for arm, entry in found["test"].items():
            if folder / entry["result"] == path:
                validation = found["validation"]
                spent = {
                    "validation": _seconds(found["passes"], validation["task"]),
                    "test": _seconds(found["passes"], task),
                }
                return Part(folder, arm, entry["tokens"], spent, validation, bool(state["complete"]))
    except (KeyError, TypeError, AttributeError) as error:
        raise _broken(file, error) from None
    return None


def _seconds(passes: dict[str, Any], task: str) -> float:
    """Of the vector's passes over a task."""
    return float(sum(one["seconds"] for name, one in passes.items() if f"{name} ".startswith(f"{task}, vector ")))


@functools.lru_cache(maxsize=64)
def _parse(file: Path, size: int, time: int) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))


def _read(file: Path) -> dict[str, Any]:
    try:
        state = _parse(file, file.stat().st_size, file.stat().st_mtime_ns)
        version, _ = state["version"], (state["tasks"].items(), state["complete"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _broken(file, error) from None
    if version != VERSION:
        raise SteeringError(
            f"{file} is of version {version!r}, but this lm_eval_steer reads version {VERSION}: use the lm_eval_steer "
            "that wrote it, or sweep again"
        )
    return dict(state)


def _broken(file: Path, error: Exception) -> SteeringError:
    return SteeringError(f"{file} is no whole sweep.json ({error!r}): start the sweep again, it goes on")
