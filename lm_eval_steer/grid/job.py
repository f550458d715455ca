"""The job of a stage on a cluster: what submitit writes down, starts, and starts again after a preemption."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.grid.__main__ import DONE, HELD, attempt
from lm_eval_steer.grid.folder import Grid
from lm_eval_steer.grid.run import LOOK, wait_for_needs


@dataclass(frozen=True)
class StageJob:
    """Does a stage in the process that the cluster gives it.

    Signals are submitit's: it lets SIGTERM pass, and at SIGUSR2, which comes before the time is over or the job is
    preempted, asks for `checkpoint` and puts the job into the queue again.

    Attributes:
        root: the folder of the study.
        folder: of the stage.
    """

    root: str
    folder: str

    def __call__(self) -> None:
        """Wait for stages that others are at, then do it; what an earlier start left is gone on from.

        Raises:
            SteeringError: where it cannot begin, or failed; so the job counts as failed, too.
        """
        grid = Grid(Path(self.root))
        stage = grid.stage(self.folder)
        with open(grid.place(self.folder) / "log.txt", "ab") as log:
            for number in (1, 2):
                os.dup2(log.fileno(), number)
        wait_for_needs(grid, stage)
        while (code := attempt(grid, self.folder)) == HELD:
            time.sleep(LOOK)
        if code != DONE:
            raise SteeringError(f"{stage.name}: {grid.state(self.folder).why}")

    def checkpoint(self) -> Any:
        """What is put into the queue again: the same, as the folder has all that was done."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)
