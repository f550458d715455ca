"""A study as jobs of a cluster: what sbatch is told, what a job does when it is preempted or killed, what squeue says.

Jobs run by submitit's local executor; tests/test_slurm.py has them on a SLURM.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import submitit

from lm_eval_steer.cli import main as cli
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.grid.folder import Grid
from lm_eval_steer.grid.job import StageJob
from lm_eval_steer.grid.queue import Queue, read_queue
from lm_eval_steer.grid.stage import Stage
from lm_eval_steer.grid.submit import arrays_of, read_options, submit

NONE = Queue({}, {})


def stage(kind: str, name: str, *needs: Stage, **resources: Any) -> Stage:
    """A stage whose folder is `kind-name`."""
    return Stage(kind, {"task": name}, {}, tuple(one.folder for one in needs), resources, name.ljust(64, "-"))


A, B = stage("extract", "a", gpus=1, hours=1), stage("extract", "b", gpus=1, hours=1)
LARGE = stage("extract", "c", gpus=4, hours=2, partition="large")
SWEEP = stage("sweep", "d", A, LARGE, gpus=1, hours=12)
BOARD = stage("leaderboard", "e", SWEEP, gpus=0, hours=0.5)
STUDY = [A, B, LARGE, SWEEP, BOARD]


@pytest.fixture
def grid(tmp_path: Path) -> Grid:
    grid = Grid(tmp_path / "study")
    grid.enter(STUDY)
    return grid


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Path]:
    """Puts a program on PATH; `sbatch` keeps the scripts that it is given, and counts jobs from 7."""

    def put(name: str, body: str) -> Path:
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)
        return path

    put("srun", "exit 1")
    put(
        "sbatch",
        f'number=$(($(ls "{tmp_path}/told" | wc -l) + 7)); cp "$1" "{tmp_path}/told/$number"\n'
        'echo "Submitted batch job $number"',
    )
    (tmp_path / "told").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    return put


def told(folder: Path) -> dict[str, dict[str, str]]:
    """Job -> option of sbatch -> what it was given."""
    found = {}
    for file in sorted((folder / "told").iterdir(), key=lambda path: int(path.name)):
        lines = [line.removeprefix("#SBATCH --") for line in file.read_text().splitlines() if line.startswith("#SB")]
        found[file.name] = {key: value.strip("'") for key, _, value in (line.partition("=") for line in lines)}
    return found


# What is submitted


def test_a_kind_with_the_same_resources_is_an_array(grid: Grid) -> None:
    assert list(arrays_of([BOARD, SWEEP, A, LARGE, B])) == [[A, B], [LARGE], [SWEEP], [BOARD]]


@pytest.mark.usefixtures("programs")
def test_arrays_wait_for_what_they_need_and_ask_for_what_the_study_says(grid: Grid, tmp_path: Path) -> None:
    heard: list[str] = []
    assert submit(grid, STUDY, NONE, read_options(["--qos=normal,", "mem=8G"]), heard.append) == 5
    jobs = told(tmp_path)
    assert [jobs[job].get("dependency") for job in jobs] == [None, None, "afterany:7:8", "afterany:9"]
    assert [jobs[job].get("array") for job in jobs] == ["0-1%2", None, None, None]
    assert [jobs[job].get("gpus-per-node") for job in jobs] == ["1", "4", "1", None]
    assert [jobs[job]["time"] for job in jobs] == ["60", "120", "720", "30"]
    assert [jobs[job].get("partition") for job in jobs] == [None, "large", None, None]
    assert {(one["qos"], one["mem"], one["requeue"], one["signal"]) for one in jobs.values()} == {
        ("normal", "8G", "", "USR2@90")
    }  # fmt: skip
    assert grid.jobs() == {A.folder: "7_0", B.folder: "7_1", LARGE.folder: "8", SWEEP.folder: "9", BOARD.folder: "10"}
    assert heard[2] == "sweep: job 9, 1 stages, behind 7, 8"


@pytest.mark.usefixtures("programs")
def test_what_is_done_or_in_the_queue_is_not_submitted_again(grid: Grid, tmp_path: Path) -> None:
    grid.end(LARGE.folder, "done", seconds=1.0)
    before = {A.folder: "3_0", B.folder: "3_1", SWEEP.folder: "4", LARGE.folder: "5"}
    assert submit(grid, STUDY, Queue(before, {"3_0": "running"}), {}, print) == 3
    jobs = told(tmp_path)
    assert [(one["job-name"], one.get("dependency")) for one in jobs.values()] == [
        ("grid-extract", None), ("grid-sweep", "afterany:3"), ("grid-leaderboard", "afterany:8")
    ]  # fmt: skip
    assert grid.jobs() == before | {B.folder: "7", SWEEP.folder: "8", BOARD.folder: "9"}


def test_what_sbatch_refuses_is_told_and_what_was_submitted_is_known(
    grid: Grid, tmp_path: Path, programs: Callable[[str, str], Path]
) -> None:
    programs("sbatch", f'[ -e "{tmp_path}/once" ] && echo "error: invalid qos" >&2 && exit 1; touch "{tmp_path}/once"\n'
             'echo "Submitted batch job 7"')  # fmt: skip
    with pytest.raises(SteeringError, match=r"extract cannot be submitted \(.*invalid qos\): mend it and submit again"):
        submit(grid, STUDY, NONE, {}, print)
    assert grid.jobs() == {A.folder: "7_0", B.folder: "7_1"}
    programs("srun", "")
    os.environ["PATH"] = str(tmp_path / "nothing")
    with pytest.raises(SteeringError, match='Could not detect "srun"'):
        submit(grid, STUDY, NONE, {}, print)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["partition"], "'partition' is no option of sbatch: give key=value"),
        (["dependency=afterok:3"], "dependency cannot be given"),
        (["--time=12:00:00"], "time=12:00:00 is not understood: give a whole number of minutes"),
    ],
)
def test_options_that_cannot_be_are_refused(words: list[str], sentence: str) -> None:
    with pytest.raises(SteeringError, match=sentence):
        read_options(words)


def test_options_are_words_behind_two_dashes(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    found = cli.make_parser().parse_args(["grid", "submit", "s.yaml", "--out", "o", "--", "partition=a", "qos=b"])
    assert (found.study, found.out, found.options) == ("s.yaml", "o", ["partition=a", "qos=b"])
    assert cli.make_parser().parse_args(["grid", "submit", "s.yaml", "--out", "o"]).options is None
    assert cli.main(["grid", "submit", str(tmp_path / "s"), "--out", "o", "--", "nodes"]) == 2
    assert "'nodes' is no option of sbatch" in capsys.readouterr().err


# What the queue says


def test_status_tells_what_the_queue_holds(
    grid: Grid, programs: Callable[[str, str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    programs("squeue", "exit 1")
    assert cli.main(["grid", "status", str(grid.root)]) == 0  # nothing was submitted, so nothing is asked
    assert "squeue" not in capsys.readouterr().out
    grid.note_jobs({A.folder: "7_0", B.folder: "7_1", SWEEP.folder: "9"})
    programs("squeue", 'echo "7_0|RUNNING|None"; echo "9|PENDING|Dependency"; echo "5|PENDING|Priority"')
    queue = read_queue(grid)
    assert queue.queued == {"7_0": "running", "9": "pending (Dependency)"}
    assert [queue.tell(one.folder) for one in STUDY] == [
        "job 7_0 is running", "job 7_1 is in the queue no more", "", "job 9 is pending (Dependency)", ""
    ]  # fmt: skip
    assert queue.has(A.folder)
    assert not queue.has(B.folder)
    assert cli.main(["grid", "status", str(grid.root)]) == 0
    assert "job 9 is pending" in capsys.readouterr().out
    programs("squeue", 'echo "slurm_load_jobs error" >&2; exit 1')
    assert cli.main(["grid", "status", str(grid.root)]) == 0
    assert "squeue does not answer (slurm_load_jobs error)" in capsys.readouterr().out
    os.environ["PATH"] = "/nowhere"
    assert "squeue is not on this machine" in read_queue(grid).problem


# What a job does


def make_job(grid: Grid, folder: str) -> Any:
    """The job of a stage whose work goes on until it was begun twice, or fails where the folder says so."""

    class Job(StageJob):
        def __call__(self) -> None:
            place = Path(self.root) / "stages" / self.folder

            def work(*_: object) -> None:
                with (place / "starts").open("a") as file:
                    file.write("begun\n")
                if (place / "wrong").exists():
                    raise ValueError("it is wrong")
                while (place / "starts").read_text().count("begun") < 2:
                    time.sleep(0.01)

            stub = type(sys)("lm_eval_steer.grid.work")
            stub.work, stub.Place = work, lambda *_: None  # type: ignore[attr-defined]
            sys.modules["lm_eval_steer.grid.work"] = stub
            super().__call__()

        def checkpoint(self) -> Any:
            return super().checkpoint()

    return Job(str(grid.root), folder)


def until(is_so: Callable[[], bool]) -> None:
    for _ in range(1500):
        if is_so():
            return
        time.sleep(0.04)
    raise AssertionError("a minute has passed")


def test_a_job_that_is_preempted_goes_on_and_one_that_is_killed_when_it_is_sent_again(grid: Grid) -> None:
    executor = submitit.LocalExecutor(grid.root / "jobs")
    executor.update_parameters(timeout_min=5)
    preempted, killed = (executor.submit(make_job(grid, one.folder)) for one in (A, B))
    until(lambda: all((grid.place(one.folder) / "starts").exists() for one in (A, B)))
    for one, number in ((A, signal.SIGUSR2), (B, signal.SIGKILL)):
        os.kill(int(grid.state(one.folder).why.split()[1]), number)
    until(lambda: preempted.done() and killed.done())
    assert grid.state(A.folder).word == "done"
    assert "this job is" in (grid.place(A.folder) / "log.txt").read_text()
    assert grid.state(B.folder).word == "stopped"
    again = executor.submit(make_job(grid, B.folder))
    until(again.done)
    assert grid.state(B.folder).word == "done"


def test_a_job_fails_with_its_stage_and_with_what_it_needs(grid: Grid) -> None:
    executor = submitit.LocalExecutor(grid.root / "jobs")
    executor.update_parameters(timeout_min=5)
    (grid.place(LARGE.folder) / "wrong").touch()
    failed, early = (executor.submit(make_job(grid, one.folder)) for one in (LARGE, BOARD))
    assert "extract c: ValueError: it is wrong" in str(failed.exception())
    assert "leaderboard e needs sweep d, which is waiting: run that first" in str(early.exception())
    assert grid.state(LARGE.folder).word == "failed"
    assert grid.state(BOARD.folder).word == "waiting"
