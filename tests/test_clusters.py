"""docs/CLUSTERS.md: its scripts do what they say, as far as that can be seen without a cluster."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from conftest import ROOT

STAGES = (
    ("extract-1f", "extract qwen arith_steer", ""),
    ("extract-2f", "extract smollm2 arith_steer", ""),
    ("transfer-3f", "transfer qwen smollm2 arith_steer ridge", "0"),
    ("sweep-4f", "sweep smollm2 arith_steer", "1,2"),
    ("sweep-5f", "sweep gemma arith_steer", "1,2"),
    ("sweep-6f", "sweep other arith_steer", "1,2"),
    ("leaderboard-7f", "leaderboard", "3,4,5"),
    ("report-8f", "report", "3,4,5"),
)
"""Folder, name and needs of each, as `grid plan --list` tells them."""


def blocks(language: str) -> list[str]:
    text = (ROOT / "docs" / "CLUSTERS.md").read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


@pytest.fixture
def programs(tmp_path: Path) -> dict[str, str]:
    """An environment with a `lm-eval-steer` that lists the stages, and an `sbatch` that notes what it is told."""
    lines = "".join(f"{number}\t{folder}\t{name}\t{needs}\n" for number, (folder, name, needs) in enumerate(STAGES))
    (tmp_path / "list").write_text(lines)
    for name, body in {
        "lm-eval-steer": f'cat "{tmp_path}/list"',
        "sbatch": f'printf "%s\\n" "$@" --- >> "{tmp_path}/told"\ngrep -c -- "^---$" "{tmp_path}/told"',
    }.items():
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)
    return os.environ | {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}


def test_each_kind_is_an_array_that_waits_for_the_one_before(programs: dict[str, str], tmp_path: Path) -> None:
    script = blocks("bash")[1].replace("/shared/study", str(tmp_path))
    done = subprocess.run(
        ["bash", "-c", script, "submit.sh", "--partition=gpu"], env=programs, capture_output=True, text=True, check=True
    )
    jobs = [one.split("\n") for one in (tmp_path / "told").read_text().split("---\n") if one]
    arrays = [next(word for word in job if word.startswith("--array=")) for job in jobs]
    assert arrays == ["--array=0-1", "--array=2", "--array=3-5", "--array=6", "--array=7"]
    waits = [[word for word in job if word.startswith("--dependency=")] for job in jobs]
    assert waits == [[], *([f"--dependency=afterany:{number}"] for number in (1, 2, 3, 4))]
    assert all("--partition=gpu" in job for job in jobs)
    (wrapped,) = {job[job.index("--wrap") + 1] for job in jobs}
    assert wrapped == (
        f"lm-eval-steer grid run {tmp_path}/study.yaml --out {tmp_path}/out --index $SLURM_ARRAY_TASK_ID"
    )
    assert "transfer: job 2, stages 2\n" in done.stdout
    assert "states" not in done.stdout  # there are none


def test_the_workers_are_a_script_that_sbatch_may_read() -> None:
    (script, _) = blocks("bash")
    subprocess.run(["bash", "-n", "-c", script], check=True)
    head = script.split("\n")
    assert head[0] == "#!/bin/bash"
    options = [line for line in head if line.startswith("#SBATCH ")]
    assert head[1 : 1 + len(options)] == options  # those behind a command are not read
    assert "--requeue" in " ".join(options)


def test_the_manifest_is_an_indexed_job_whose_pods_start_a_worker() -> None:
    (text,) = blocks("yaml")
    job: dict[str, Any] = yaml.safe_load(text)
    assert (job["apiVersion"], job["kind"], job["spec"]["completionMode"]) == ("batch/v1", "Job", "Indexed")
    pod = job["spec"]["template"]["spec"]
    assert pod["restartPolicy"] == "Never"  # which failures by index take
    (worker,) = pod["containers"]
    assert all(isinstance(word, str) for word in worker["command"])
    mounts = {one["name"]: one["mountPath"] for one in worker["volumeMounts"]}
    assert {one["name"] for one in pod["volumes"]} == mounts.keys()
    folders = [word for word in worker["command"] if word.startswith("/")]
    assert all(word.startswith(f"{mounts['study']}/") for word in folders)
