"""A sweep of mapped vectors with their controls: --arms own=FILE,ridge=FILE,cut=FILE --controls map-shuffled:1."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import sweep_server
import sweeps
from conftest import make_transferred, make_vector
from lm_eval_steer.compare.runs import read_runs
from lm_eval_steer.interventions.controls import Control
from lm_eval_steer.report.tables import read_leaderboard
from sweeps import differences, outcome, responses, single, texts

pytestmark = pytest.mark.usefixtures("hurried")

CONTENDERS = [
    *("own", "own negated", "ridge", "ridge map-shuffled:1", "ridge negated", "cut", "cut negated", "random:1"),
]


class Command:
    """`lm-eval-steer sweep` in processes that can be killed; see sweep_server.py."""

    def __init__(self, server: Any, child: str, files: dict[str, str], log: Path) -> None:
        self.server, self.child, self.files, self.log = server, child, files, log

    def __call__(self, folder: Path, event: int | None = None) -> tuple[int, int]:
        argv = [
            "sweep", "--model_args", f"pretrained={self.child}", "max_length=4096", "--tasks", "parity_steer",
            "--alpha", "[1,2]", "--limit", "2", "--val_limit", "2", "--batch_size", "16", "--device", "cpu",
            "--arms", ",".join(f"{name}={file}" for name, file in self.files.items()),
            "--controls", "map-shuffled:1,negated,random:1", "--output_path", str(folder),
        ]  # fmt: skip
        self.server.stdin.write(json.dumps({"argv": argv, "event": event, "after": None}) + "\n")
        self.server.stdin.flush()
        code, events = json.loads(self.server.stdout.readline())
        assert code in (0, 137), self.log.read_text()[-3000:]
        return code, events


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Command]:
    folder = tmp_path_factory.mktemp("mapped")
    child = sweeps.make_child(folder)["pretrained"]
    said = {"child": {"name": child}, "tokens": "last"}
    vectors = {
        "own": make_vector(seed=1),
        "ridge": make_transferred(seed=2, **said),
        "ridge.map-shuffled-1": make_transferred(seed=3, shuffled=1, **said),
        "cut": make_transferred(seed=4, width_map={"name": "cut"}, texts=None, **said),
    }
    files = {name: str(vector.save(folder / f"{name}.safetensors")) for name, vector in vectors.items()}
    log = folder / "stderr"
    with log.open("w") as errors, subprocess.Popen(
        [sys.executable, sweep_server.__file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
        text=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
    ) as server:  # fmt: skip
        yield Command(server, child, {name: files[name] for name in ("own", "ridge", "cut")}, log)
        assert server.stdin
        server.stdin.close()


@pytest.fixture(scope="module")
def done(command: Command, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """A sweep that ended undisturbed, and how many writes it took."""
    folder = tmp_path_factory.mktemp("done")
    code, events = command(folder)
    assert code == 0
    return folder, events


def test_arms_stand_beside_their_vectors_and_share_one_baseline(done: tuple[Path, int]) -> None:
    folder, _ = done
    state = json.loads((folder / "sweep.json").read_text())
    found = state["tasks"]["parity_steer"]
    assert list(found["test"]) == ["baseline", *(f"{one} {role}" for one in CONTENDERS for role in ("best", "vote"))]
    assert list(found["validation"]["best"]) == CONTENDERS
    entry = found["test"]["ridge map-shuffled:1 best"]
    assert (entry["role"], entry["vector"], entry["control"], entry["seed"]) == ("best", "ridge", "map-shuffled", 1)
    assert entry["result"].startswith("arms/parity_steer/ridge_map-shuffled-1_best/")
    (run,) = read_runs([(folder / entry["result"]).parent])
    assert run.control == Control("map-shuffled", 1)
    assert (run.vectors, run.steering["control"]) == ("ridge.map-shuffled-1", None)  # a file as any other
    for task in ("parity_steer_val", "parity_steer"):
        new = {name: share["new"] for name, share in found["passes"][task]["contenders"].items()}
        assert new == {name: 6 if name == "own" else 4 for name in CONTENDERS}  # the baseline is asked once


@pytest.mark.parametrize("arm", ["ridge", "cut"])
def test_an_arm_and_its_controls_are_the_runs_that_lm_eval_makes(
    arm: str, done: tuple[Path, int], command: Command
) -> None:
    folder, _ = done
    best = json.loads((folder / "sweep.json").read_text())["tasks"]["parity_steer"]["validation"]["best"]
    child = {"pretrained": command.child, "max_length": 4096}
    beside = command.files[arm].replace(".safetensors", ".map-shuffled-1.safetensors")
    wanted = {
        arm: {"vectors": command.files[arm]},
        f"{arm} negated": {"vectors": command.files[arm], "control": "negated"},
    }
    wanted |= {"ridge map-shuffled:1": {"vectors": beside}} if arm == "ridge" else {}
    for name, changes in wanted.items():
        place = f"{name} best".replace(" ", "_").replace(":", "-")
        assert responses(folder, place) == texts(single(child, limit=2.0, alpha=best[name], **changes)), name


def test_the_leaderboard_has_a_row_for_each_vector_with_its_controls(done: tuple[Path, int]) -> None:
    folder, _ = done
    rows = {row["vector"].split(":")[0]: row for row in read_leaderboard([folder]).entries()}
    assert set(rows) == {"own", "ridge", "cut"}
    assert set(rows["ridge"]["changes"]) == {
        f"{one}{role}" for one in ("", "map-shuffled:1 ", "negated ") for role in ("best", "vote")
    }
    assert set(rows["cut"]["changes"]) == {"best", "vote", "negated best", "negated vote"}
    assert {name: set(row["map_shuffled"]) for name, row in rows.items()} == {
        "own": set(),
        "ridge": {"best", "vote"},
        "cut": set(),
    }
    assert all(row["random"]["best"]["seeds"] == 1 for row in rows.values())  # one for all of them


def test_a_sweep_that_dies_goes_on_where_it_was(command: Command, done: tuple[Path, int], tmp_path: Path) -> None:
    """In the middle of a line of the record, before a file gets its name."""
    folder, events = done
    expected = outcome(folder)
    point = random.Random(5).randint(1, events)
    assert command(tmp_path, event=point) == (137, point)
    assert command(tmp_path)[0] == 0
    assert differences(outcome(tmp_path), expected) == [], f"killed at write {point} of {events}"
