"""An arm of a sweep as the harness would leave it had it been run alone: replayed from the record, scored by itself."""

from __future__ import annotations

import copy
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lm_eval import simple_evaluate
from lm_eval.loggers import EvaluationTracker
from lm_eval.tasks import TaskManager
from lm_eval.tasks._factory import TaskFactory

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.models.plan import SteeringPlan
from lm_eval_steer.sweep.args import SweepArgs


@dataclass(frozen=True)
class Arm:
    """One way to run a test task.

    Attributes:
        name: `baseline`, `best`, `vote`, `random:1 best`, ...
        plan: what is replayed.
        changes: what it has in model_args beside those of the sweep.
    """

    name: str
    plan: SteeringPlan
    changes: dict[str, Any]

    @property
    def folder(self) -> str:
        """Its name as a file system takes it."""
        return self.name.replace(":", "-").replace(" ", "_")


def result_file(folder: Path) -> Path | None:
    """The result file of an arm that is whole."""
    return next(iter(sorted(folder.rglob("results_*.json"))), None)


def holds(folder: Path, args: Mapping[str, Any], limit: float | None) -> bool:
    """Whether a folder is this arm, and whole: it gets its name when all of it is written."""
    path = result_file(folder)
    if path is None:
        return False
    config = json.loads(path.read_text(encoding="utf-8"))["config"]
    return bool(config["model_args"] == json.loads(json.dumps(args)) and config["limit"] == limit)


def write_arm(
    lm: Any,
    arm: Arm,
    task: str,
    folder: Path,
    args: SweepArgs,
    manager: TaskManager,
    measured: Mapping[str, Any] | None,
) -> None:
    """Replay an arm and leave what `lm_eval --output_path --log_samples` leaves, in `folder` or not at all.

    Args:
        lm: the model that filled the record.
        arm: which.
        task: the test task.
        folder: the arm's own.
        args: of the sweep.
        manager: of the tasks.
        measured: log of the pass that asked for the responses; a replay measures no doses.

    Raises:
        SteeringError: where the record lacks a response, and where the files cannot be written.
    """
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    tracker = EvaluationTracker(output_path=str(part))
    model_args = arguments(args, arm)
    lm.steer(arm.plan)
    with _replaying(lm, arm.name):
        results: Any = simple_evaluate(
            model=lm,
            model_args=model_args,
            tasks=[task],
            batch_size=args.batch_size,
            device=args.device,
            limit=args.limit,
            log_samples=True,
            evaluation_tracker=tracker,
            task_manager=_manager_of(manager, model_args | dict(args.metadata or {})),
            **args.harness.evaluating(),
        )
    results["config"]["model"] = tracker.general_config_tracker.model_source = args.model
    if measured and "steering" in results["config"]:
        doses = {name: found for name, found in measured["doses"].items() if float(name) in arm.plan.alphas}
        of = {"alphas": measured["alphas"], **(measured["application"] or {})}
        results["config"]["steering"] |= {"doses": doses, "application": of}
    samples = results.pop("samples")
    tracker.save_results_aggregated(results=results, samples=samples)
    tracker.save_results_samples(task_name=task, samples=samples[task])
    written = list(part.rglob("*.json*"))
    if len(written) != 2:  # the harness tells of it in a warning only
        raise SteeringError(f"the results of {arm.name} cannot be written to {part}: make room and start again")
    for path in written:
        with path.open("rb") as file:
            os.fsync(file.fileno())
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(part, folder)


def arguments(args: SweepArgs, arm: Arm) -> dict[str, Any]:
    """The model_args with which `lm_eval` would run this arm alone."""
    return args.arguments | arm.changes | ({"seed": args.sampling_seed} if args.sampling_seed else {})


def _manager_of(manager: TaskManager, metadata: dict[str, Any]) -> TaskManager:
    """The manager as the harness's command would make it for an arm, whose arguments it hands to the tasks."""
    if manager.metadata is None:  # a caller's own, which hands on nothing
        return manager
    of_arm = copy.copy(manager)
    of_arm.metadata, of_arm._factory = metadata, TaskFactory(meta=metadata)
    return of_arm


@contextmanager
def _replaying(lm: Any, name: str) -> Iterator[None]:
    """Let the model answer from its record alone."""

    def refuse(*_: Any) -> None:
        raise SteeringError(f"the record lacks responses of {name} that this sweep asked for before: start it again")

    lm.write = lm.score = refuse  # what models/axis.py asks an engine for
    try:
        yield
    finally:
        del lm.write, lm.score
