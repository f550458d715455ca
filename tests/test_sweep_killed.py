"""lm-eval-steer sweep: what is left of it when it is killed."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import sweep_server
from sweeps import differences, outcome

pytestmark = pytest.mark.usefixtures("hurried")


@pytest.fixture(scope="module")
def command(child: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Any]]:
    """Runs `lm-eval-steer sweep` in a process that can be killed; see sweep_server.py."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    log = tmp_path_factory.mktemp("command") / "stderr"
    with log.open("w") as errors, subprocess.Popen(
        [sys.executable, sweep_server.__file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
        text=True, env=environment,
    ) as server:  # fmt: skip
        given = ",".join(f"{key}={value}" for key, value in child.items()) + ",vote_early_stop=True"

        def run(folder: Path, event: int | None = None, after: tuple[int, float] | None = None) -> tuple[int, int]:
            argv = [
                "sweep", "--model_args", given, "--tasks", "parity_steer", "--alpha", "[0.0001,0.0002,1,2]",
                "--limit", "3", "--val_limit", "2", "--batch_size", "16", "--device", "cpu",
                "--controls", "self-consistency", "--output_path", str(folder),
            ]  # fmt: skip
            assert server.stdin
            assert server.stdout
            server.stdin.write(json.dumps({"argv": argv, "event": event, "after": after}) + "\n")
            server.stdin.flush()
            code, events = json.loads(server.stdout.readline())
            assert code in (0, 137, -9), log.read_text()[-3000:]
            return code, events

        yield run
        server.stdin.close()  # type: ignore[union-attr]


@pytest.fixture(scope="module")
def undisturbed(command: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, int]:
    folder = tmp_path_factory.mktemp("undisturbed")
    code, events = command(folder)
    assert code == 0
    whole = outcome(folder)
    assert whole["state"]["tasks"]["parity_steer"]["test"]["vote"]["skipped"] > 0
    return whole, events


@pytest.mark.parametrize("deaths", [3, pytest.param(10, marks=pytest.mark.slow)])
def test_a_sweep_that_dies_at_a_write_ends_as_one_that_does_not(
    command: Callable[..., Any], undisturbed: tuple[Any, int], tmp_path: Path, deaths: int
) -> None:
    """In the middle of a line of the record, before a file gets its name; each time the next start goes on."""
    expected, events = undisturbed
    points = sorted(random.Random(4).sample(range(1, events + 1), deaths))
    for point in points:
        folder = tmp_path / str(point)
        assert command(folder, event=point) == (137, point)
        assert command(folder)[0] == 0
        assert differences(outcome(folder), expected) == [], f"killed at write {point} of {events}"
        shutil.rmtree(folder)


def test_a_sweep_that_is_killed_again_and_again_ends_as_one_that_is_not(
    command: Callable[..., Any], undisturbed: tuple[Any, int], tmp_path: Path
) -> None:
    """By real SIGKILLs at random moments, all of the same sweep; the first is sure to come before its end."""
    expected, events = undisturbed
    draw = random.Random(4)
    moments = [(draw.randrange(1, events // (turn + 2)), draw.uniform(0, 0.02)) for turn in range(4)]
    codes = [command(tmp_path, after=moment)[0] for moment in moments]
    assert codes[0] == -9
    assert command(tmp_path)[0] == 0
    assert differences(outcome(tmp_path), expected) == []
