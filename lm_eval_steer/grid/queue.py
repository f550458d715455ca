"""What a cluster's queue says of the jobs that `grid submit` sent: by squeue, where there is one."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

from lm_eval_steer.grid.folder import Grid
from lm_eval_steer.grid.stage import KINDS

NAME = "grid-{kind}"
"""Of the jobs of a kind of stage."""

_PATIENCE = 60
"""Seconds that squeue may take."""


@dataclass(frozen=True)
class Queue:
    """Jobs of a study.

    Attributes:
        jobs: folder of a stage -> its job, `12` or `12_3`, as it was submitted last.
        queued: job -> in words what the queue says of it, `pending (Priority)`; only of jobs that are in it.
        problem: why the queue could not be read; empty where it could, and where no jobs were submitted.
    """

    jobs: Mapping[str, str]
    queued: Mapping[str, str]
    problem: str = ""

    def has(self, folder: str) -> bool:
        """Whether a job of the stage is in the queue, waiting or at work."""
        return self.jobs.get(folder) in self.queued

    def tell(self, folder: str) -> str:
        """What is known of the job of a stage; nothing where none was submitted."""
        job = self.jobs.get(folder)
        if job is None:
            return ""
        gone = "" if self.problem else " is in the queue no more"
        return f"job {job} is {self.queued[job]}" if job in self.queued else f"job {job}{gone}"


def read_queue(grid: Grid) -> Queue:
    """What the queue of this machine's cluster says of a study's jobs; it is asked only where some were submitted."""
    jobs = grid.jobs()
    if not jobs:
        return Queue({}, {})
    if shutil.which("squeue") is None:
        return Queue(jobs, {}, "squeue is not on this machine, so what the queue holds is not known here")
    names = ",".join(NAME.format(kind=kind) for kind in KINDS)
    command = ["squeue", "--noheader", "--array", f"--name={names}", "--format=%i|%T|%r"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", None) or str(error)
        return Queue(jobs, {}, f"squeue does not answer ({' '.join(said.split())[:200]})")
    lines = [line.split("|", 2) for line in done.stdout.splitlines() if line.count("|") >= 2]
    ours = set(jobs.values())
    return Queue(jobs, {job: _told(state, reason) for job, state, reason in lines if job in ours})


def _told(state: str, reason: str) -> str:
    return state.lower() + ("" if reason in ("None", "") else f" ({reason})")
