"""A study on a real SLURM: arrays with dependencies, jobs that are preempted, cancelled, or lose their node.

Each job loads Python and the harness anew, so it takes minutes.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from safetensors.torch import load_file

import models
import slurm
import sweeps
from lm_eval_steer.cli import main as cli
from lm_eval_steer.grid.folder import Grid
from lm_eval_steer.grid.queue import read_queue
from lm_eval_steer.grid.stages import VECTOR, make_stages
from lm_eval_steer.grid.study import read_study
from slurm import ask
from test_clusters import blocks

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(slurm.missing()), reason=slurm.missing())]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Path]:
    with slurm.cluster() as folder:
        yield folder


def until(is_so: Callable[[], bool], what: str, seconds: float = 3000) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not within {seconds:.0f} s; the queue holds {ask('squeue')}")
        time.sleep(0.5)


def write_study(folder: Path) -> Path:
    """Two children and a task whose sweeps ask enough to be caught in the middle."""
    pairs = folder / "pairs.jsonl"
    pairs.write_text("".join(json.dumps({"positive": f"{n} yes", "negative": f"{n} no"}) + "\n" for n in range(6)))

    def model(name: str, seed: int) -> dict[str, Any]:
        return {"model_args": {"pretrained": str(models.save_model(folder / name, "llama", seed=seed))}}

    study = {
        "children": {"one": model("one", 2), "two": model("two", 3)},
        "tasks": ["parity_steer"],
        "extract": {"pairs": str(pairs)},
        "model_args": {"max_length": 4096},
        "alpha": [round(0.25 * number, 2) for number in range(1, 9)],
        "limit": 64,
        "val_limit": 64,
        "batch_size": 8,
        "device": "cpu",
        "include_path": str(sweeps.PARITY),
        "resources": {
            kind: {"gpus": 0, "hours": 0.5} for kind in ("extract", "sweep", "leaderboard", "report")
        },
    }  # fmt: skip
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(study))
    return path


def watched() -> list[int]:
    """Processes that watch a job: as long as one lives, its node takes the job for one that runs twice."""
    found = psutil.process_iter(["name", "status"])
    return [one.pid for one in found if one.info["name"] == "slurmstepd" and one.info["status"] != psutil.STATUS_ZOMBIE]


def recorded(grid: Grid, folder: str) -> int:
    """Lines that the sweep of a stage has recorded."""
    return sum(file.read_bytes().count(b"\n") for file in (grid.place(folder) / "sweep" / "record").glob("*.jsonl"))


@pytest.mark.usefixtures("cluster")
def test_whatever_befalls_its_jobs_a_study_ends_as_if_it_was_run_in_a_row(tmp_path: Path, capsys: Any) -> None:
    path = write_study(tmp_path)
    stages = make_stages(read_study(path))
    one, two = (stage.folder for stage in stages if stage.kind == "sweep")
    grid, row = Grid(tmp_path / "jobs"), Grid(tmp_path / "row")

    def word(folder: str) -> str:
        return grid.state(folder).word

    def goes_on(folder: str, lines: int = 0) -> bool:
        assert word(folder) != "done", "it was done before it could be disturbed"
        return word(folder) == "running" and recorded(grid, folder) > lines + 40

    def starts(job: str) -> int:
        (found,) = re.findall(r"Restarts=(\d+)", ask("scontrol", "show", "job", job))
        return int(found)

    assert cli.main(["grid", "submit", str(path), "--out", str(grid.root), "--", "cpus_per_task=1"]) == 0
    assert "6 jobs were submitted" in capsys.readouterr().out
    jobs = grid.jobs()
    assert jobs[one].split("_")[0] == jobs[two].split("_")[0]
    until(lambda: read_queue(grid).queued[jobs[one]] == "pending (Dependency)", "the sweeps wait for the vectors")
    until(lambda: goes_on(one) and goes_on(two), "both sweeps are at work")
    assert {word(stage.folder) for stage in stages if stage.kind == "extract"} == {"done"}
    ask("scontrol", "update", "nodename=node", "state=down", "reason=it fails")
    until(lambda: {word(one), word(two)} == {"stopped"} and not watched(), "the processes of the node have ended")
    before = {folder: recorded(grid, folder) for folder in (one, two)}
    ask("scontrol", "update", "nodename=node", "state=resume")
    until(lambda: all(goes_on(*item) for item in before.items()), "both sweeps go on")
    ask("scancel", f"--signal={signal.SIGUSR2.name[3:]}", jobs[one])  # as before a preemption
    ask("scancel", jobs[two])
    assert starts(jobs[two]) == 1
    until(lambda: starts(jobs[one]) == 2, "the job that was preempted is in the queue once more")
    until(lambda: ask("squeue", "--noheader") == "", "the queue is empty")
    assert (word(one), word(two)) == ("done", "stopped")
    (board,) = (stage.folder for stage in stages if stage.kind == "leaderboard")
    assert "needs sweep two parity_steer, which is stopped" in (grid.place(board) / "log.txt").read_text()
    assert cli.main(["grid", "status", str(grid.root)]) == 0
    assert "is in the queue no more" in " ".join(capsys.readouterr().out.split())

    assert cli.main(["grid", "submit", str(path), "--out", str(grid.root)]) == 0
    assert "3 jobs were submitted" in capsys.readouterr().out
    until(lambda: ask("squeue", "--noheader") == "", "the queue is empty")
    assert {word(stage.folder) for stage in stages} == {"done"}

    row.enter(stages)
    for stage in stages:
        subprocess.run([sys.executable, "-m", "lm_eval_steer.grid", str(row.root), stage.folder], check=True)
    for stage in stages:
        if stage.kind == "extract":
            ours, theirs = (load_file(each.place(stage.folder) / VECTOR) for each in (grid, row))
            assert {name: each.tolist() for name, each in ours.items()} == {
                name: each.tolist() for name, each in theirs.items()
            }
        if stage.kind == "sweep":
            ours, theirs = (sweeps.outcome(each.place(stage.folder) / "sweep") for each in (grid, row))
            found = sweeps.differences(ours, theirs)
            assert [line for line in found if not re.search(r"/(vectors|passport/created):", line)] == []
            assert len(ours["record"]) == 2 * 9 * 64


@pytest.mark.usefixtures("cluster")
def test_sbatch_takes_the_scripts_of_the_pages(tmp_path: Path) -> None:
    """The node has no GPU, so that of which there is none here is asked for by no script."""
    workers = blocks("bash")[0].replace("#SBATCH --gres=gpu:1\n", "").replace("--cpus-per-task=8", "--cpus-per-task=2")
    script = tmp_path / "workers.sh"
    script.write_text(workers.replace("--time=12:00:00", "--time=00:30:00").replace("/shared/study", str(tmp_path)))
    done = subprocess.run(["sbatch", "--test-only", str(script)], capture_output=True, text=True, check=True)
    assert "to start at" in done.stderr
    script.write_text(workers.replace("--requeue", "--requeues"))
    assert subprocess.run(["sbatch", "--test-only", str(script)], capture_output=True).returncode != 0
