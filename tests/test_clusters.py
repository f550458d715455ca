"""docs/GRID.md: its script and its manifest are what SLURM and Kubernetes read."""

from __future__ import annotations

import re
import subprocess
from typing import Any

import kubernetes_validate
import pytest
import yaml

from conftest import ROOT


def blocks(language: str) -> list[str]:
    text = (ROOT / "docs" / "GRID.md").read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def test_the_workers_are_a_script_that_sbatch_may_read() -> None:
    (script,) = blocks("bash")
    subprocess.run(["bash", "-n", "-c", script], check=True)
    head = script.split("\n")
    assert head[0] == "#!/bin/bash"
    options = [line for line in head if line.startswith("#SBATCH ")]
    assert head[1 : 1 + len(options)] == options  # those behind a command are not read
    assert "--requeue" in " ".join(options)


def test_the_manifest_is_an_indexed_job_whose_pods_start_a_worker() -> None:
    text = next(text for text in blocks("yaml") if "apiVersion" in text)
    job: dict[str, Any] = yaml.safe_load(text)
    assert (job["apiVersion"], job["kind"], job["spec"]["completionMode"]) == ("batch/v1", "Job", "Indexed")
    kubernetes_validate.validate(job, "1.29", strict=True)
    wrong = yaml.safe_load(text.replace("command:", "comand:"))
    with pytest.raises(kubernetes_validate.ValidationError, match="'comand' was unexpected"):
        kubernetes_validate.validate(wrong, "1.29", strict=True)
    pod = job["spec"]["template"]["spec"]
    assert pod["restartPolicy"] == "Never"  # which failures by index take
    (worker,) = pod["containers"]
    assert all(isinstance(word, str) for word in worker["command"])
    mounts = {one["name"]: one["mountPath"] for one in worker["volumeMounts"]}
    assert {one["name"] for one in pod["volumes"]} == mounts.keys()
    folders = [word for word in worker["command"] if word.startswith("/")]
    assert all(word.startswith(f"{mounts['study']}/") for word in folders)
