"""Runs what of a study is missing: the order is graphlib's, the processes are the system's, each has its own GPUs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from graphlib import TopologicalSorter

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.grid.__main__ import DONE, HELD
from lm_eval_steer.grid.folder import Grid
from lm_eval_steer.grid.stage import Stage

_PATIENCE = 20.0
"""Seconds in which a process that was told to end may do so."""

LOOK = 2.0
"""Seconds between two looks at stages that processes of others are at."""

Tell = Callable[[Stage, str, str], object]
"""Is called with a stage, what became of it (`began`, `done`, `failed`, `elsewhere`), and why or who."""


class Runner:
    """Runs stages in processes of their own.

    Args:
        grid: the folder, in which they were entered.
        jobs: how many at a time.
        gpus: identifiers that are dealt out, as CUDA_VISIBLE_DEVICES takes them; None leaves the variable alone.
        tell: hears what happens.
    """

    def __init__(self, grid: Grid, jobs: int, gpus: Sequence[str] | None, tell: Tell) -> None:
        self.grid, self.jobs, self.tell = grid, jobs, tell
        self._free = None if gpus is None else list(gpus)
        self._processes: set[subprocess.Popen[bytes]] = set()
        self._running: dict[Future[int], tuple[Stage, list[str]]] = {}

    def run(self, stages: Sequence[Stage]) -> bool:
        """Run these stages, each when all that it needs among them is done; what needs one that failed is left.

        A stage that another process is at, here or on another machine, is waited for.

        Returns:
            whether all of them are done.

        Raises:
            SteeringError: for a stage that takes more GPUs than there are.
        """
        self._refuse_large(stages)
        graph = {stage.folder: stage for stage in stages}
        order = TopologicalSorter({stage.folder: [one for one in stage.needs if one in graph] for stage in stages})
        order.prepare()
        waiting: dict[str, Stage] = {}
        elsewhere = set[str]()
        with ThreadPoolExecutor(self.jobs) as pool:
            try:
                while True:
                    ready = [graph[folder] for folder in order.get_ready()]
                    waiting |= {stage.folder: stage for stage in ready}
                    were_done = [folder for folder in waiting if self.grid.state(folder).word == "done"]
                    for folder in were_done:
                        self.tell(waiting.pop(folder), "done", "")
                        order.done(folder)
                    if were_done:  # which may make others ready
                        continue
                    for stage in list(waiting.values()):
                        state = self.grid.state(stage.folder)
                        if state.word == "running" and stage.folder not in elsewhere:
                            elsewhere.add(stage.folder)
                            self.tell(stage, "elsewhere", state.why)
                        if state.word != "running" and self._fits(stage):
                            del waiting[stage.folder]
                            self._start(pool, stage)
                    if not self._running and not waiting:
                        return not order.is_active()
                    for stage, code in self._ended(LOOK if waiting else None):
                        if code == HELD:
                            waiting[stage.folder] = stage
                        elif self._is_done(stage, code):
                            order.done(stage.folder)
            except BaseException:
                self._end_all()
                raise

    def _refuse_large(self, stages: Sequence[Stage]) -> None:
        for stage in stages:
            if self._free is not None and _gpus(stage) > len(self._free):
                raise SteeringError(
                    f"{stage.name} takes {_gpus(stage)} GPUs by its resources, and --gpus gives {len(self._free)}: "
                    "give as many, or say fewer in the study"
                )

    def _fits(self, stage: Stage) -> bool:
        return len(self._running) < self.jobs and (self._free is None or _gpus(stage) <= len(self._free))

    def _start(self, pool: ThreadPoolExecutor, stage: Stage) -> None:
        gpus: list[str] = []
        environment = os.environ | {"TQDM_DISABLE": "1"}
        if self._free is not None:
            gpus = [self._free.pop(0) for _ in range(_gpus(stage))]
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)
        self.grid.begin(stage.folder)
        self.tell(stage, "began", f"on GPU {environment['CUDA_VISIBLE_DEVICES']}" if gpus else "")
        with open(self.grid.place(stage.folder) / "log.txt", "ab") as log:
            process = subprocess.Popen(
                command_of(self.grid, stage),
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C comes here alone, and the others are told to end
            )
        self._processes.add(process)
        self._running[pool.submit(process.wait)] = (stage, gpus)

    def _ended(self, seconds: float | None) -> Iterator[tuple[Stage, int]]:
        """Stages whose processes ended, with their exit codes; waits for one, or for so many seconds."""
        if not self._running:
            time.sleep(LOOK)
        for future in wait(self._running, seconds, FIRST_COMPLETED).done:
            stage, gpus = self._running.pop(future)
            if self._free is not None:
                self._free += gpus
            yield stage, future.result()

    def _is_done(self, stage: Stage, code: int) -> bool:
        """Whether a stage is done; of one whose process could not say why it ended, that is noted."""
        if code == DONE:
            self.tell(stage, "done", "")
            return True
        state = self.grid.state(stage.folder)
        if state.word != "failed":
            self.grid.end(stage.folder, "failed", why=_tell_code(code))
            state = self.grid.state(stage.folder)
        self.tell(stage, "failed", state.why)
        return False

    def _end_all(self) -> None:
        """End all processes; their stages go on at the next start."""
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            try:
                process.wait(_PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()


def command_of(grid: Grid, stage: Stage) -> list[str]:
    """What does a stage in a process of its own."""
    return [sys.executable, "-m", "lm_eval_steer.grid", str(grid.root), stage.folder]


def run_one(runner: Runner, stages: Sequence[Stage], index: int) -> bool:
    """Run one stage of a study, when the stages that it needs and that others are at are done.

    Returns:
        whether it is done.

    Raises:
        SteeringError: for an index that there is not, and where a stage that it needs is not done and nobody is at it.
    """
    if not 0 <= index < len(stages):
        raise SteeringError(f"--index {index} is no stage: the study has 0 to {len(stages) - 1} (grid plan --list)")
    numbers = {one.folder: f"stage {number}, {one.name}" for number, one in enumerate(stages)}
    wait_for_needs(runner.grid, stages[index], numbers)
    return runner.run([stages[index]])


def wait_for_needs(grid: Grid, stage: Stage, names: Mapping[str, str] | None = None) -> None:
    """Wait while another process is at what a stage needs.

    Args:
        grid: the folder.
        stage: that needs it.
        names: folder -> what a needed stage is called; by default its own name.

    Raises:
        SteeringError: where something that it needs is not done, and nobody is at it.
    """
    for folder in stage.needs:
        while (state := grid.state(folder)).word == "running":
            time.sleep(LOOK)
        if state.word != "done":
            needed = (names or {}).get(folder) or grid.stage(folder).name
            reason = f": {state.why}" if state.word == "failed" else ""
            raise SteeringError(f"{stage.name} needs {needed}, which is {state.word}{reason}: run that first")


def visible_gpus(count: int) -> list[str]:
    """So many GPUs of this machine: the first of CUDA_VISIBLE_DEVICES where it is set, else 0, 1, ...

    Raises:
        SteeringError: where it names fewer.
    """
    told = os.environ.get("CUDA_VISIBLE_DEVICES")
    there = list(map(str, range(count))) if told is None else [one.strip() for one in told.split(",") if one.strip()]
    if count > len(there):
        raise SteeringError(f"--gpus {count}, but CUDA_VISIBLE_DEVICES has {len(there)} ({told}): give as many")
    return there[:count]


def _gpus(stage: Stage) -> int:
    return int(stage.resources.get("gpus") or 0)


def _tell_code(code: int) -> str:
    """What a process ended with that could not say anything itself."""
    if code == -signal.SIGKILL:
        return (
            "its process was killed (SIGKILL), as systems do where memory does not suffice: it goes on when run again"
        )
    if code < 0:
        return f"its process was ended by {signal.Signals(-code).name}: it goes on when run again"
    return f"its process ended with exit code {code} (log.txt may say why): it goes on when run again"
