"""What sweep.json says about a result file below it: which arm it is, how α was chosen, what it cost."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lm_eval_steer.compare.arms import VECTOR, Arm
from lm_eval_steer.compare.lengths import Lengths
from lm_eval_steer.compare.run import Run
from lm_eval_steer.compare.sweep_file import arm_of, read_sweep
from lm_eval_steer.compare.text_costs import TextCost
from lm_eval_steer.errors import SteeringError


@dataclass(frozen=True)
class Part:
    """A result file's place in a sweep.

    Attributes:
        folder: of the sweep.
        arm: which of its arms.
        first: what its --arms call its first vector; None without names.
        tokens: generated for the arm; None where unknown.
        prompt_tokens: read for it; None in sweeps of older releases.
        lengths: of its responses; None where that is unknown, where none were written, and in older sweeps.
        text_cost: what its strength costs on unrelated text; None where that was not measured, of votes, and without
            steering.
        costs: contender -> strength -> cost, as sweep.json has them of the whole sweep; empty without --cost.
        given: the system instruction or the model of a baseline of another kind; None for all others.
        seconds: spent on its vector, on `validation` and on `test`; without controls.
        validation: how α was chosen, as in sweep.json.
        documents: on which documents, and on which it was tested; None in sweeps of older releases.
        refused: controls, or `vote`, that have no arm for the task, and why.
        complete: whether the sweep is done.
        metric: that the sweep was told to choose and judge by; None for the task's first.
    """

    folder: Path
    arm: Arm
    first: str | None
    tokens: int | None
    prompt_tokens: int | None
    lengths: Lengths | None
    text_cost: TextCost | None
    costs: Mapping[str, Mapping[str, Any]]
    given: str | None
    seconds: dict[str, float]
    validation: dict[str, Any]
    documents: dict[str, Any] | None
    refused: dict[str, str]
    complete: bool
    metric: str | None


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
    unit = path.parents[2].name  # the task, or the group in which it lies
    found = state["tasks"].get(unit)
    for entry in found["test"].values() if found else ():
        if folder / entry["result"] == path:
            arm, validation = arm_of(entry), found["validation"]
            documents = (state["settings"].get("validation") or {}).get(unit)
            members = (documents or {}).get("members")
            metric = state["settings"].get("metric") if members is None else validation.get("metric")
            first = next(iter(state["settings"].get("vectors") or ()), VECTOR)
            vector = arm.vector or first
            spent = {
                "validation": _seconds(found["passes"], validation["task"], vector),
                "test": _seconds(found["passes"], task, vector),
            }
            costs = {key: entry.get(key) if task == unit else None for key in ("tokens", "prompt_tokens")}
            return Part(
                folder,
                arm,
                first=None if first == VECTOR else first,
                **costs,
                given=entry.get("given"),
                lengths=Lengths.read(entry.get("lengths")) if task == unit else None,
                text_cost=TextCost.read(entry.get("cost_nll")) if task == unit else None,
                costs=(state.get("cost") or {}).get("strengths") or {},
                seconds=spent if task == unit else {},
                validation=validation,
                documents=documents if task == unit else (members or {}).get(task),
                refused=found["refused"],
                complete=state["complete"],
                metric=metric,
            )
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


def metric_of_sweep(path: Path, task: str) -> str | None:
    """The metric that the sweep of a result file was told; None for the task's first, and outside of a sweep."""
    try:
        part = part_of(path, task)
    except SteeringError:  # its runs are left out
        return None
    return part.metric if part else None


def by_their_sweeps(runs: list[Run]) -> list[Run]:
    """The runs, those outside of sweeps by the metric of the sweeps of their task, where these agree on one."""
    told: dict[str, set[str]] = {}
    for run in runs:
        if part_of(run.path, run.task):
            told.setdefault(run.task, set()).add(run.metric)
    return [
        run.by(metric)
        if len(metrics := told.get(run.task, set())) == 1 and (metric := min(metrics)) in run.metrics
        else run
        for run in runs
    ]


def _seconds(passes: Mapping[str, Any], task: str, vector: str) -> float:
    """Of a vector's responses to a task."""
    shares = [one["contenders"].get(vector) for one in passes.values() if one["task"] == task]
    return float(sum(share["seconds"] for share in shares if share))
