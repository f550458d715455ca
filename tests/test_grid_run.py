"""Stages are run in the order of what needs what, whatever fails, dies or is run elsewhere."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lm_eval_steer.cli import main as cli
from lm_eval_steer.cli.results import result_folders
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.grid import run as grid_run
from lm_eval_steer.grid.collect import collect
from lm_eval_steer.grid.folder import Grid
from lm_eval_steer.grid.lock import held
from lm_eval_steer.grid.overview import count_states, make_status
from lm_eval_steer.grid.run import Runner, run_one, visible_gpus
from lm_eval_steer.grid.stage import Stage

Heard = list[tuple[str, str, str]]

# What stands for the process of a stage: it notes what it was given, and ends as the test has it.
PROCESS = """
import json, os, pathlib, signal, sys
root, folder, how = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3]
place = root / "stages" / folder
with open(root / "order.txt", "a") as file:
    file.write(f"{folder} {os.environ.get('CUDA_VISIBLE_DEVICES')}\\n")
if how == "done":
    (place / "done.json").write_text(json.dumps({"ended": 2.0, "seconds": 1.0}))
elif how == "failed":
    (place / "failed.json").write_text(json.dumps({"ended": 2.0, "why": "it has no task"}))
    sys.exit(1)
elif how == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
sys.exit(75 if how == "held" else 0)
"""


def stage(name: str, *needs: str, kind: str = "extract", gpus: int = 0) -> Stage:
    """A stage whose folder is `kind-name`."""
    return Stage(kind, {"task": name}, {}, needs, {"gpus": gpus}, name.ljust(64, "-"))


def folder(name: str, kind: str = "extract") -> str:
    return stage(name, kind=kind).folder


@pytest.fixture
def grid(tmp_path: Path) -> Grid:
    return Grid(tmp_path / "study")


@pytest.fixture
def play(grid: Grid, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[bool, Heard]]:
    """Runs stages, each of which ends as `ends` says of its name."""

    def run(
        stages: list[Stage], ends: dict[str, str], jobs: int = 1, gpus: list[str] | None = None
    ) -> tuple[bool, Heard]:
        def command(_: Grid, one: Stage) -> list[str]:
            return [sys.executable, "-c", PROCESS, str(grid.root), one.folder, ends.get(one.about["task"], "done")]

        monkeypatch.setattr(grid_run, "command_of", command)
        monkeypatch.setattr(grid_run, "LOOK", 0.01)
        heard: Heard = []
        grid.enter(stages)
        done = Runner(grid, jobs, gpus, lambda one, word, why: heard.append((one.about["task"], word, why))).run(stages)
        return done, heard

    return run


def order(grid: Grid) -> list[str]:
    return [line.split()[0] for line in (grid.root / "order.txt").read_text().splitlines()]


DIAMOND = [stage("a"), stage("b", folder("a")), stage("c", folder("a")), stage("d", folder("b"), folder("c"))]


def test_a_stage_runs_when_all_that_it_needs_is_done_and_once(grid: Grid, play: Callable[..., Any]) -> None:
    done, heard = play(DIAMOND, {}, jobs=2)
    assert done
    assert [name for name, word, _ in heard if word == "done"][::3] == ["a", "d"]
    assert sorted(order(grid)) == [one.folder for one in DIAMOND]
    assert play(DIAMOND, {})[0]
    assert len(order(grid)) == 4


def test_what_does_not_need_a_stage_that_failed_goes_on(grid: Grid, play: Callable[..., Any]) -> None:
    done, heard = play([*DIAMOND, stage("e")], {"b": "failed"})
    assert not done
    assert ("b", "failed", "it has no task") in heard
    words = {one.about["task"]: grid.state(one.folder).word for one in grid.stages()}
    assert words == {"a": "done", "b": "failed", "c": "done", "d": "waiting", "e": "done"}
    assert count_states(grid, grid.stages()) == "3 done, 1 failed, 1 waiting"
    assert play([*DIAMOND, stage("e")], {})[0]
    assert order(grid)[-2:] == [folder("b"), folder("d")]


def test_a_process_that_could_say_nothing_is_told_of(grid: Grid, play: Callable[..., Any]) -> None:
    _, heard = play([stage("a")], {"a": "killed"})
    assert heard[-1][1] == "failed"
    assert heard[-1][2].startswith("its process was killed (SIGKILL), as systems do where memory does not suffice")
    assert grid.state(folder("a")).why == heard[-1][2]
    assert play([stage("a")], {})[0]
    assert grid.state(folder("a")).word == "done"


def test_a_study_that_is_edited_while_it_runs_is_run_to_its_end_and_its_new_form_pays_for_what_is_new(
    grid: Grid, play: Callable[..., Any]
) -> None:
    edited = [*DIAMOND[:2], stage("new", folder("b"))]
    begin = grid.begin

    def begin_and_edit(name: str) -> None:
        begin(name)
        if name == folder("b"):
            grid.enter(edited)

    grid.begin = begin_and_edit  # type: ignore[method-assign]
    assert play(DIAMOND, {})[0]
    assert sorted(order(grid)) == [one.folder for one in DIAMOND]
    assert grid.stages() == edited  # what status and tables show is the form that was entered last
    assert play(edited, {})[0]
    assert order(grid)[4:] == [folder("new")]


def test_what_another_release_did_stays_done(grid: Grid, play: Callable[..., Any]) -> None:
    grid.enter(DIAMOND)
    grid.end(folder("a"), "done", seconds=1.0)
    file = grid.place(folder("a")) / "done.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"package": "0.0.1", "of the future": {}}))
    assert play(DIAMOND, {})[0]
    assert folder("a") not in order(grid)


# A runner in a process of its own, whose stages hold their lock until they are told to go on.
def test_a_stage_that_ends_between_two_looks_is_done(grid: Grid, monkeypatch: pytest.MonkeyPatch) -> None:
    grid.enter(DIAMOND)

    def gone(_: Path) -> None:
        grid.end(folder("a"), "done", seconds=1.0)

    monkeypatch.setattr("lm_eval_steer.grid.folder.holder_of", gone)
    assert grid.state(folder("a")).word == "done"  # and it is not begun again


RUNNER = """
import pathlib, sys
from lm_eval_steer.grid import run
from lm_eval_steer.grid.folder import Grid
grid = Grid(pathlib.Path(sys.argv[1]))
run.command_of = lambda _, stage: [sys.executable, "-c", sys.argv[2], str(grid.root), stage.folder]
run.Runner(grid, 1, None, print).run(grid.stages())
"""
HOLDER = """
import pathlib, sys, time
from lm_eval_steer.grid.folder import Grid
from lm_eval_steer.grid.lock import held
grid = Grid(pathlib.Path(sys.argv[1]))
with held(grid.place(sys.argv[2]), print):
    while not (grid.root / "go").exists():
        time.sleep(0.01)
    grid.end(sys.argv[2], "done", seconds=1.0)
"""


def test_stages_outlive_a_runner_that_was_killed_and_the_next_one_waits_for_them(
    grid: Grid, play: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    grid.enter(DIAMOND)
    with subprocess.Popen([sys.executable, "-c", RUNNER, str(grid.root), HOLDER], stdout=subprocess.DEVNULL) as runner:
        while grid.state(folder("a")).word != "running":
            assert runner.poll() is None
            time.sleep(0.01)
        runner.kill()
    assert grid.state(folder("a")).word == "running"
    state = grid.state

    def look(name: str) -> Any:
        if name == folder("a"):
            (grid.root / "go").touch()
        return state(name)

    monkeypatch.setattr(grid, "state", look)
    done, heard = play(DIAMOND, {})
    assert done
    assert [name for name, word, _ in heard if word == "elsewhere"] == ["a"]
    assert sorted(order(grid)) == [one.folder for one in DIAMOND[1:]]


def test_gpus_are_dealt_out_and_come_back(grid: Grid, play: Callable[..., Any]) -> None:
    stages = [stage("a", gpus=2), stage("b", gpus=1), stage("c", folder("a"), gpus=2), stage("d", folder("c"))]
    assert play(stages, {}, jobs=3, gpus=["4", "7"])[0]
    given = dict(line.split(" ") for line in (grid.root / "order.txt").read_text().splitlines())
    assert set(given[folder("a")].split(",")) == set(given[folder("c")].split(",")) == {"4", "7"}
    assert given[folder("b")] in {"4", "7"}
    assert given[folder("d")] == ""
    with pytest.raises(SteeringError, match="extract e takes 3 GPUs by its resources, and --gpus gives 2"):
        play([stage("e", gpus=3)], {}, gpus=["4", "7"])


def test_gpus_that_are_not_there_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    assert visible_gpus(1) == ["3"]
    with pytest.raises(SteeringError, match=r"--gpus 3, but CUDA_VISIBLE_DEVICES has 2 \(3,5\)"):
        visible_gpus(3)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert visible_gpus(2) == ["0", "1"]


def test_a_stage_that_another_process_is_at_is_waited_for(grid: Grid, play: Callable[..., Any]) -> None:
    """And the others go on in the meantime: the one that runs here ends it there."""
    grid.enter(DIAMOND)
    elsewhere = held(grid.place(folder("b")), lambda: None)
    elsewhere.__enter__()
    original = grid.state

    def state(name: str) -> Any:
        if name == folder("b") and original(folder("c")).word == "done" and original(name).word == "running":
            grid.end(name, "done", seconds=1.0)
            elsewhere.__exit__(None, None, None)
        return original(name)

    grid.state = state  # type: ignore[method-assign]
    done, heard = play(DIAMOND, {})
    assert done
    assert [name for name, word, _ in heard if word == "elsewhere"] == ["b"]
    assert folder("b") not in order(grid)


def test_a_stage_that_began_elsewhere_in_between_is_waited_for(grid: Grid, play: Callable[..., Any]) -> None:
    ends = {"a": "held"}

    def tell_once(name: str) -> Any:
        found = Grid.state(grid, name)
        if (grid.root / "order.txt").exists() and found.word != "done":
            grid.end(name, "done", seconds=1.0)
        return Grid.state(grid, name)

    grid.state = tell_once  # type: ignore[method-assign]
    done, _ = play([stage("a")], ends)
    assert done
    assert order(grid) == [folder("a")]


def test_one_stage_by_its_index(grid: Grid, play: Callable[..., Any]) -> None:
    play(DIAMOND[:0], {})
    grid.enter(DIAMOND)
    runner = Runner(grid, 1, None, lambda *_: None)
    with pytest.raises(SteeringError, match="extract d needs stage 1, extract b, which is waiting: run that first"):
        run_one(runner, DIAMOND, 3)
    with pytest.raises(SteeringError, match="--index 4 is no stage: the study has 0 to 3"):
        run_one(runner, DIAMOND, 4)
    for number in (0, 2, 1, 3):
        assert run_one(runner, DIAMOND, number)
    assert order(grid) == [folder(name) for name in "acbd"]
    with pytest.raises(SteeringError, match=r"the study is not as it was when .* was begun"):
        grid.enter_once(DIAMOND[:2])


# The folder


def test_stages_are_read_as_they_were_entered(grid: Grid) -> None:
    grid.enter(DIAMOND)
    assert grid.stages() == DIAMOND
    assert grid.stage(folder("d")) == DIAMOND[3]
    before = {path: path.stat().st_mtime_ns for path in grid.root.rglob("*.json")}
    grid.enter(DIAMOND)
    assert {path: path.stat().st_mtime_ns for path in grid.root.rglob("*.json")} == before
    assert make_status(grid, grid.stages()).row_count == 4


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("{}", "is no whole grid.json"),
        ('{"version": 9, "stages": []}', "is of version 9, but this lm_eval_steer reads version 1"),
        ('{"version": 1, "stages": [{}]}', "is no whole grid.json"),
        ("[", "not a whole JSON file of stages"),
    ],
)
def test_a_folder_that_is_damaged_is_told_of(grid: Grid, content: str, sentence: str) -> None:
    with pytest.raises(SteeringError, match="is no folder of a study: name what"):
        grid.stages()
    grid.enter([])
    (grid.root / "grid.json").write_text(content)
    with pytest.raises(SteeringError, match=sentence):
        grid.stages()


def test_what_was_done_before_is_found_by_what_it_is_about(grid: Grid) -> None:
    old, new, other = (Stage("sweep", {"task": task}, {}, (), {}, d * 64) for d, task in ("1x", "2x", "3y"))
    grid.enter([old, other])
    grid.enter([new])
    assert grid.earlier(new) == (grid.place(old.folder),)


def test_what_is_done_in_any_folder_is_done_in_the_joined_one(tmp_path: Path, capsys: Any) -> None:
    mine, theirs, out = (Grid(tmp_path / name) for name in ("mine", "theirs", "both"))
    sweeps = [stage(name, kind="sweep") for name in "abc"]
    board = stage("all", *[one.folder for one in sweeps], kind="leaderboard")
    mine.enter([*sweeps[:2], stage("texts", kind="states"), board])
    theirs.enter([*sweeps, board])
    for grid, name in ((mine, "a"), (theirs, "b")):
        grid.end(folder(name, "sweep"), "done", seconds=1.0)
        (grid.place(folder(name, "sweep")) / "sweep").mkdir()
        (grid.place(folder(name, "sweep")) / "sweep" / "sweep.json").write_text(name)
        (grid.place(folder(name, "sweep")) / "lock.1").write_text("{}")
    copied, missing = collect([mine, theirs], out)
    assert (copied, missing) == (2, [sweeps[2]])
    assert out.stages() == sweeps
    assert (out.place(folder("b", "sweep")) / "sweep" / "sweep.json").read_text() == "b"
    assert not list(out.root.rglob("lock.*"))
    assert collect([theirs], out)[0] == 0
    assert cli.main(["grid", "collect", str(theirs.root), "--out", str(out.root)]) == 0
    assert capsys.readouterr().out.splitlines()[1] == "- sweep c"
    assert cli.main(["grid", "status", str(out.root)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "2 done, 1 waiting"
    assert json.loads((out.root / "grid.json").read_text())["version"] == 1


def test_tables_read_the_sweeps_of_the_study_that_are_done(tmp_path: Path) -> None:
    grid = Grid(tmp_path / "study")
    first, second, old = (stage(name, kind="sweep") for name in ("first", "second", "old"))
    grid.enter([old])
    done = json.dumps({"ended": 2.0, "seconds": 1.0})
    (grid.place(old.folder) / "done.json").write_text(done)
    grid.enter([first, second])
    with pytest.raises(SteeringError, match=r"no sweep of the study in .* is done \(2 are not\)"):
        grid.sweeps()
    (grid.place(second.folder) / "done.json").write_text(done)
    assert grid.sweeps() == [grid.place(second.folder) / "sweep"]
    args = argparse.Namespace(folders=[str(grid.root), "elsewhere"])
    assert result_folders(args) == [grid.place(second.folder) / "sweep", Path("elsewhere")]
