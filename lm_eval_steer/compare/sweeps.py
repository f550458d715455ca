"""What sweep.json says about a result file below it: which arm it is, how α was chosen, what it cost."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lm_eval_steer.compare.arms import VECTOR, Arm
from lm_eval_steer.compare.runs import Run
from lm_eval_steer.compare.sweep_file import arm_of, read_sweep
from lm_eval_steer.errors import SteeringError


@dataclass(frozen=True)
class Part:
    """A result file's place in a sweep.

    Attributes:
        folder: of the sweep.
        arm: which of its arms.
        tokens: generated for the arm; None where unknown.
        seconds: spent on its vector, on `validation` and on `test`; without controls.
        validation: how α was chosen, as in sweep.json.
        documents: on which documents, and on which it was tested; None in sweeps of older releases.
        complete: whether the sweep is done.
    """

    folder: Path
    arm: Arm
    tokens: int | None
    seconds: dict[str, float]
    validation: dict[str, Any]
    documents: dict[str, Any] | None
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
    state = read_sweep(file)
    found = state["tasks"].get(task)
    for entry in found["test"].values() if found else ():
        if folder / entry["result"] == path:
            arm, validation = arm_of(entry), found["validation"]
            vector = arm.vector or next(iter(state["settings"].get("vectors") or ()), VECTOR)
            spent = {
                "validation": _seconds(found["passes"], validation["task"], vector),
                "test": _seconds(found["passes"], task, vector),
            }
            documents = (state["settings"].get("validation") or {}).get(task)
            return Part(folder, arm, entry.get("tokens"), spent, validation, documents, state["complete"])
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


def _seconds(passes: Mapping[str, Any], task: str, vector: str) -> float:
    """Of a vector's responses to a task."""
    shares = [one["contenders"].get(vector) for one in passes.values() if one["task"] == task]
    return float(sum(share["seconds"] for share in shares if share))
