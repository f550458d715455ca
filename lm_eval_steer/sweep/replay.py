"""An arm of a sweep as the harness would leave it had it been run alone: replayed from the record, scored by itself."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lm_eval import simple_evaluate
from lm_eval.loggers import EvaluationTracker
from lm_eval.tasks import TaskManager

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.files import unwritable
from lm_eval_steer.interventions.plan import SteeringPlan
from lm_eval_steer.sweep.args import SweepArgs
from lm_eval_steer.sweep.arm_files import read_back, remove
from lm_eval_steer.sweep.arms import Member
from lm_eval_steer.sweep.requests import GroupRequests, Requests
from lm_eval_steer.sweep.tasks import unanswered
from lm_eval_steer.sweep.units import regroup

_BOOTSTRAPS = 1000
"""Of the harness's own standard error of a score that is no mean; its 100,000 take minutes per arm, as of Matthews'
coefficient, and intervals of changes are not made of it."""


def write_arm(
    lm: Any,
    member: Member,
    plan: SteeringPlan,
    folder: Path,
    args: SweepArgs,
    test: Requests,
    manager: TaskManager,
    measured: Mapping[str, Any] | None,
) -> None:
    """Replay an arm and leave what `lm_eval --output_path --log_samples` leaves, in `folder` or not at all.

    Args:
        lm: the model that filled the record.
        member: which.
        plan: of the arm.
        folder: the arm's own.
        args: of the sweep.
        test: the test task, or all members of a group, with the requests.
        manager: of the tasks.
        measured: log of the pass that asked for the responses; a replay measures no doses.

    Raises:
        SteeringError: where the record lacks a response, and where the files cannot be written.
    """
    part = folder.with_name(f"{folder.name}.part")
    remove(part)
    tracker = EvaluationTracker(output_path=str(part))
    model_args = member.model_args(args)
    # The harness's command hands the arguments of a model to its tasks; a caller's own manager hands on nothing.
    metadata = {} if manager.metadata is None else model_args | dict(args.metadata or {})
    lm.replay(plan)
    results: Any = simple_evaluate(
        model=lm,
        model_args=model_args,
        tasks=[_unanswered(test, metadata)],
        batch_size=args.batch_size,
        device=args.device,
        limit=args.limit,
        log_samples=True,
        bootstrap_iters=_BOOTSTRAPS,
        evaluation_tracker=tracker,
        task_manager=manager,
        **member.harness(args).evaluating(),
    )
    results["config"]["model"] = tracker.general_config_tracker.model_source = args.model
    if measured and "steering" in results["config"]:
        results["config"]["steering"] |= _measured(member, plan, measured)
    samples = results.pop("samples")
    with _hearing() as errors:
        tracker.save_results_aggregated(results=results, samples=samples)
        for one in test.parts:
            tracker.save_results_samples(task_name=one.name, samples=samples[one.name])
    try:
        try:
            read_back(part)
        except ValueError as error:  # of a disk that says nothing, there is no more to tell than what is missing
            raise errors[0] if errors else OSError(errno.ENOSPC, f"{error} after writing") from None
        for path in part.rglob("*.json*"):
            with path.open("rb") as file:
                os.fsync(file.fileno())
        remove(folder)
        os.replace(part, folder)
    except BaseException as error:
        shutil.rmtree(part, ignore_errors=True)  # a full disk has room for what comes before the next try
        if isinstance(error, Exception) and not isinstance(error, SteeringError):
            raise unwritable(folder, error) from None
        raise


def _unanswered(test: Requests, metadata: Mapping[str, Any]) -> Any:
    """The task, or the harness's group, for one more evaluation."""
    if isinstance(test, GroupRequests):
        return regroup(test.task, {one.name: unanswered(one, metadata) for one in test.parts})
    return unanswered(test, metadata)


def _measured(member: Member, plan: SteeringPlan, log: Mapping[str, Any]) -> dict[str, Any]:
    """What the log of a pass says of an arm, as a result file has it."""
    doses = log["contenders"][member.whose]["doses"]
    contenders = {name: share["alphas"] for name, share in log["contenders"].items()}
    return {
        "doses": {name: found for name, found in doses.items() if float(name) in plan.alphas},
        "application": {"contenders": contenders, **(log["application"] or {})},
    }


@contextmanager
def _hearing() -> Iterator[list[Exception]]:
    """What keeps the harness from writing its files; it tells of that in a warning, and goes on."""
    errors: list[Exception] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            error = sys.exc_info()[1]
            if isinstance(error, Exception):
                errors.append(error)

    listener, teller = Listener(), logging.getLogger(EvaluationTracker.__module__)
    teller.addHandler(listener)
    try:
        yield errors
    finally:
        teller.removeHandler(listener)
