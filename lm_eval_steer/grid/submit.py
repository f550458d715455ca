"""Gives a study to SLURM through submitit: an array of jobs per kind of stage, each behind those that it needs."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.grid.folder import Grid
from lm_eval_steer.grid.job import StageJob
from lm_eval_steer.grid.queue import NAME, Queue
from lm_eval_steer.grid.stage import KINDS, Stage
from lm_eval_steer.text import quoted

TIMES = 100
"""How often a job may run out of its time and go on: every start brings the stage further."""

_OURS = ("dependency", "job_name", "name", "additional_parameters")
"""What the graph decides, and how submitit is told of the rest."""
_LINES = ("setup", "teardown", "srun_args")
"""Lists of submitit's; one entry can be given."""
_OF_SUBMITIT = ("time", "array_parallelism", "signal_delay_s", "stderr_to_stdout", "use_srun", *_LINES)
"""What submitit itself makes something of."""


def read_options(words: Sequence[str]) -> dict[str, Any]:
    """Options of sbatch, as they stand behind `--`: `partition=gpu qos=normal`, with or without commas at the end.

    Raises:
        SteeringError: for a word that is no `key=value`, and for options that the study decides.
    """
    found: dict[str, Any] = {}
    for word in words:
        key, sign, value = word.removesuffix(",").partition("=")
        key = key.removeprefix("--").replace("-", "_")
        if not sign or not key:
            raise SteeringError(f"{quoted(word)} is no option of sbatch: give key=value, as in partition=gpu")
        if key in _OURS:
            raise SteeringError(f"{key} cannot be given, since what needs what decides it: leave it out")
        if key in ("time", "array_parallelism") and not value.isdecimal():
            raise SteeringError(
                f"{key}={value} is not understood: give a whole number" + " of minutes" * (key == "time")
            )
        found[key] = int(value) if value.isdecimal() else [value] if key in _LINES else value
    return found


def arrays_of(stages: Sequence[Stage]) -> Iterator[list[Stage]]:
    """The stages of one kind that ask for the same resources, kind after kind, in the order of what needs what."""
    for kind in KINDS:
        groups: dict[str, list[Stage]] = {}
        for stage in stages:
            if stage.kind == kind:
                groups.setdefault(json.dumps(dict(stage.resources), sort_keys=True), []).append(stage)
        yield from groups.values()


def submit(
    grid: Grid, stages: Sequence[Stage], queue: Queue, options: Mapping[str, Any], tell: Callable[[str], object]
) -> int:
    """Submit what is not done and in no queue. An array starts when all that it needs has ended, well or not: what does
    not need a stage that failed goes on, and a stage whose needs are not done refuses by itself.

    Args:
        grid: the folder, in which the stages were entered.
        stages: of the study.
        queue: what was submitted before.
        options: of sbatch, over the resources that the study says; as `read_options` gives them.
        tell: hears a line for each array.

    Returns:
        how many jobs were submitted.

    Raises:
        SteeringError: where submitit or SLURM is not there, and where sbatch refuses; what was submitted stays.
    """
    jobs = dict(queue.jobs)
    left = [stage for stage in stages if grid.state(stage.folder).word != "done" and not queue.has(stage.folder)]
    waited = {stage.folder for stage in left} | {stage.folder for stage in stages if queue.has(stage.folder)}
    for array in arrays_of(left):
        needs = {folder for stage in array for folder in stage.needs if folder in waited}
        before = sorted({jobs[folder].split("_")[0] for folder in needs}, key=int)
        names = _send(grid, array, before, options)
        jobs |= zip((stage.folder for stage in array), names, strict=True)
        grid.note_jobs(jobs)
        behind = f", behind {', '.join(before)}" if before else ""
        tell(f"{array[0].kind}: job {names[0].split('_')[0]}, {len(array)} stages{behind}")
    return len(left)


def _send(grid: Grid, array: Sequence[Stage], before: Sequence[str], options: Mapping[str, Any]) -> list[str]:
    """The jobs of an array."""
    submitit = _import_submitit()
    try:
        executor = submitit.SlurmExecutor(grid.root / "jobs", max_num_timeout=TIMES)
        executor.update_parameters(**_parameters(array[0], before, options))
        found = executor.submit_array([StageJob(str(executor.folder.parent), stage.folder) for stage in array])
    except (RuntimeError, submitit.core.utils.FailedJobError) as error:
        said = " ".join(str(error).split())
        raise SteeringError(f"{array[0].kind} cannot be submitted ({said}): mend it and submit again") from None
    return [str(job.job_id) for job in found]


def _parameters(stage: Stage, before: Sequence[str], options: Mapping[str, Any]) -> dict[str, Any]:
    """What submitit is told; what it has no word for, it hands to sbatch as it is."""
    told = stage.resources
    named: dict[str, Any] = {"time": math.ceil(60 * float(told.get("hours") or 1))}
    others: dict[str, Any] = {"partition": told["partition"]} if told.get("partition") else {}
    others |= {"gpus-per-node": told["gpus"]} if told.get("gpus") else {}
    named |= {key: value for key, value in options.items() if key in _OF_SUBMITIT}
    others |= {key.replace("_", "-"): value for key, value in options.items() if key not in _OF_SUBMITIT}
    if before:
        named["dependency"] = f"afterany:{':'.join(before)}"
    return {"job_name": NAME.format(kind=stage.kind), **named, "additional_parameters": {"requeue": True, **others}}


def _import_submitit() -> Any:
    """submitit, which only those need who have a cluster."""
    try:
        import submitit
    except ModuleNotFoundError as error:
        raise SteeringError(
            f'grid submit needs {error.name}, which is not installed: run pip install "lm_eval_steer[cluster]"'
        ) from error
    return submitit
