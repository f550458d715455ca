"""An arm of a sweep as the harness would leave it had it been run alone: replayed from the record, scored by itself."""

from __future__ import annotations

import copy
import errno
import hashlib
import json
import logging
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lm_eval import simple_evaluate
from lm_eval.loggers import EvaluationTracker
from lm_eval.tasks import TaskManager
from lm_eval.tasks._factory import TaskFactory

from lm_eval_steer.compare.result_files import check_results, samples_file
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.files import is_file, is_folder, parse_json, read_text, unwritable
from lm_eval_steer.interventions.plan import SteeringPlan
from lm_eval_steer.models.neutral import NEUTRAL
from lm_eval_steer.shapes import COUNT, OBJECT, Parts, Table, check
from lm_eval_steer.sweep.args import SweepArgs

_CONTENT = Parts({"config": OBJECT, "configs": Table(OBJECT, least=1), "n-samples": Table(Parts({"effective": COUNT}))})


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


def arm_folder(args: SweepArgs, task: str, arm: str) -> Path:
    """Where an arm lies: its name as a file system takes it."""
    return args.folder / "arms" / task / arm.replace(":", "-").replace(" ", "_")


def result_file(folder: Path) -> Path | None:
    """The result file of an arm."""
    return next((path for path in sorted(folder.rglob("results_*.json")) if is_file(path)), None)


def _read_back(folder: Path) -> dict[str, Any]:
    """The content of an arm's result file, once it and the samples beside it are seen to be whole.

    Raises:
        ValueError: where they are missing, cut or damaged; SteeringError is one.
    """
    path = result_file(folder)
    if path is None:
        raise ValueError("no result file")
    content = parse_json(read_text(path, "results"))
    check(content, _CONTENT, "its content")
    for task in content["configs"]:
        lines = read_text(samples_file(path, task), "samples").split("\n")
        documents = {repr(parse_json(line).get("doc_id")) for line in lines[:-1]}
        if lines[-1] or len(documents) != content["n-samples"][task]["effective"]:
            raise ValueError(f"{len(documents)} whole samples of {content['n-samples'][task]['effective']}")
    return dict(content)


def digest_of(folder: Path) -> str:
    """SHA-256 over the files of an arm, by which any change to them is noticed."""
    sha = hashlib.sha256()
    for path in sorted(folder.rglob("*.json*")):
        if is_file(path):
            sha.update(path.read_bytes())
    return sha.hexdigest()


def holds(
    folder: Path,
    args: SweepArgs,
    changes: Mapping[str, Any],
    known: str | None,
    ask: Callable[[], Mapping[str, Any]] | None = None,
) -> bool:
    """Whether a folder is this arm, and whole.

    Args:
        folder: of the arm.
        args: of the sweep.
        changes: what the arm has in model_args beside those of the sweep.
        known: the digest of its files, where sweep.json says it.
        ask: where a model is there to be asked, tells the `settings` that it has for the arm, and the task's
            `num_fewshot`; called only where all else agrees.
    """
    try:
        if known is not None and digest_of(folder) != known:
            return False
        content = _read_back(folder)
        check_results(content)
        config, (task,) = content["config"], content["configs"].values()
        found = {
            "limit": config["limit"],
            "gen_kwargs": config["gen_kwargs"],
            "system_instruction": content["system_instruction"],
            "fewshot_as_multiturn": bool(content["fewshot_as_multiturn"]),
            "seed": [config[key] for key in ("random_seed", "numpy_seed", "torch_seed", "fewshot_seed")],
            "model_args": _telling(config["model_args"]),
            "chat": bool(content["chat_template_sha"]),
        }
        asked = {"settings": config["steering"]["settings"], "num_fewshot": task["num_fewshot"]}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
    harness = args.harness.settings()
    wanted = {
        "limit": args.limit,
        **{key: harness[key] for key in ("gen_kwargs", "system_instruction", "seed")},
        "fewshot_as_multiturn": bool(harness["fewshot_as_multiturn"]),
        "model_args": _telling(arguments(args, changes)),
        "chat": bool(args.apply_chat_template),
    }
    return found == json.loads(json.dumps(wanted)) and (ask is None or asked == ask())


def _telling(model_args: Mapping[str, Any]) -> dict[str, Any]:
    """Without sizes and places, which may change between two starts."""
    return {key: value for key, value in model_args.items() if key not in NEUTRAL | {"vectors"}}


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
    remove(part)
    tracker = EvaluationTracker(output_path=str(part))
    model_args = arguments(args, arm.changes)
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
    with _hearing() as errors:
        tracker.save_results_aggregated(results=results, samples=samples)
        tracker.save_results_samples(task_name=task, samples=samples[task])
    try:
        try:
            _read_back(part)
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


def remove(path: Path) -> None:
    """Remove a folder, or what is in its place, if there is anything.

    Raises:
        SteeringError: where the system refuses it.
    """
    try:
        if is_folder(path) and not path.is_symlink():
            shutil.rmtree(path)
        elif os.path.lexists(path):
            path.unlink()
    except OSError as error:
        raise unwritable(path, error) from None


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


def arguments(args: SweepArgs, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The model_args with which `lm_eval` would run an arm alone."""
    return args.arguments | dict(changes) | ({"seed": args.sampling_seed} if args.sampling_seed else {})


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

    lm.write = lm.score = refuse  # what axis/axis.py asks an engine for
    try:
        yield
    finally:
        del lm.write, lm.score
