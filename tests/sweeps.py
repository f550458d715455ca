"""Sweeps of tests: a tiny child and parity_steer, what a sweep leaves, and single runs to hold it against."""

from __future__ import annotations

import functools
import importlib.resources
import io
import json
import re
from pathlib import Path
from typing import Any

import lm_eval
import pytest
from lm_eval.tasks import TaskManager
from rich.console import Console

import models
from conftest import make_vector
from lm_eval_steer.axis.record import VOLATILE, read_lines
from lm_eval_steer.sweep import SweepArgs, run_sweep
from lm_eval_steer.sweep.state import without_volatile

PARITY = Path(__file__).parent / "fixtures" / "parity"
OWN = Path(__file__).parent / "fixtures" / "own"
OUTPUTS = Path(__file__).parent / "fixtures" / "outputs"
ALPHAS = (0.5, 1.0, 2.0)
CONTROLS = "random:1,negated,identity,self-consistency"
SMALL: dict[str, Any] = {"alpha": [1, 2], "limit": 2.0, "val_limit": 2.0}
QUIET = Console(file=io.StringIO())


@functools.cache
def manager() -> TaskManager:
    """Our tasks and `parity_steer`; scanning the harness's own takes seconds."""
    ours = str(importlib.resources.files("lm_eval_steer.tasks"))
    return TaskManager(include_path=[ours, str(PARITY)], include_defaults=False)


def own_manager(metadata: dict[str, Any], include_path: str | None = None) -> TaskManager:
    """As the harness's command makes it, without the harness's own tasks, whose scan takes seconds."""
    paths = [*manager().include_path, *([include_path] if include_path else [])]
    return TaskManager(include_path=paths, include_defaults=False, metadata=metadata)


def hurry(patch: Any) -> None:
    """Spare a sweep in this process what takes seconds and changes nothing: tasks of others, facts on the machine."""
    patch.setattr("lm_eval_steer.sweep.run.TaskManager", lambda **_: manager())
    patch.setattr("torch.utils.collect_env.get_pretty_env_info", lambda: "left out")


def make_child(folder: Path) -> dict[str, Any]:
    """model_args of a tiny model and a vector, which are written into `folder`."""
    vector = make_vector().save(folder / "random.pt")
    return {"pretrained": str(models.save_model(folder / "m", "llama")), "vectors": str(vector), "max_length": 4096}


def make_args(child: dict[str, Any], folder: Path, **changes: Any) -> SweepArgs:
    wanted: dict[str, Any] = {
        "model": "steered-hf", "model_args": child, "tasks": ["parity_steer"], "output_path": str(folder),
        "alpha": list(ALPHAS), "limit": 8.0, "val_limit": 6.0, "batch_size": 32, "device": "cpu",
    }  # fmt: skip
    return SweepArgs(**(wanted | changes))


def sweep(child: dict[str, Any], folder: Path, **changes: Any) -> dict[str, Any]:
    return run_sweep(make_args(child, folder, **changes), manager(), QUIET)


def single(child: dict[str, Any], task: str = "parity_steer", limit: float = 8.0, **changes: Any) -> dict[str, Any]:
    """A run of its own, without a record, as lm_eval does it."""
    return lm_eval.simple_evaluate(
        model="steered-hf", model_args=child | changes, tasks=[task], limit=limit, batch_size=32, device="cpu",
        task_manager=manager(), gen_kwargs={},
    )  # type: ignore[return-value]  # fmt: skip


def texts(results: dict[str, Any], task: str = "parity_steer") -> list[str]:
    return [sample["resps"][0][0] for sample in results["samples"][task]]


def samples(folder: Path, arm: str, task: str = "parity_steer") -> list[dict[str, Any]]:
    (path,) = (folder / "arms" / task / arm).rglob("samples_*.jsonl")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def responses(folder: Path, arm: str) -> list[str]:
    return [sample["resps"][0][0] for sample in samples(folder, arm)]


def outcome(folder: Path) -> dict[str, Any]:
    """All that a sweep leaves but its volatile keys."""
    record = {}
    for line in read_lines(folder / "record"):
        kept = {key: value for key, value in vars(line).items() if key not in VOLATILE}
        kept["logprob"] = pytest.approx(line.logprob, abs=1e-4)
        record[line.fingerprint] = kept
    found: dict[str, Any] = {"record": record}
    for path in sorted((folder / "arms").rglob("*.json*")):
        arm = path.relative_to(folder / "arms").parts[1]
        if path.suffix == ".jsonl":
            found[f"{arm} samples"] = path.read_text(encoding="utf-8")
        else:
            content = json.loads(re.sub(r" at 0x\w+>", ">", path.read_text(encoding="utf-8")))  # of functions
            content["config"]["steering"].update(doses=None, application=None)
            for key in [key for key in content if "time" in key] + ["date"]:
                del content[key]
            found[f"{arm} results"] = content
    names = sorted(path.name for path in folder.rglob("*") if path.suffix == ".part")
    state = json.loads((folder / "sweep.json").read_text(encoding="utf-8"))
    return found | {"half-written": names, "state": without_volatile(state)}


def differences(one: Any, other: Any, path: str = "") -> list[str]:
    if isinstance(one, dict) and isinstance(other, dict):
        keys = dict.fromkeys([*one, *other])
        return [found for key in keys for found in differences(one.get(key), other.get(key), f"{path}/{key}")]
    return [] if one == other else [f"{path}: {one!r:.200} != {other!r:.200}"]
