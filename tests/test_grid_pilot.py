"""Hours per stage, told from a few documents of each kind."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

import models
from lm_eval_steer.cli.main import main
from lm_eval_steer.compare.sweep_file import VERSION
from lm_eval_steer.grid import run as grid_run
from lm_eval_steer.grid.folder import Grid
from lm_eval_steer.grid.pilot import pilot_stages, tell_hours
from lm_eval_steer.grid.stage import Stage
from lm_eval_steer.grid.stages import make_stages
from lm_eval_steer.grid.study import Study, make_study

# What stands for the process of a stage of a pilot: ten seconds, six of them of loading, four of asking.
PROCESS = """
import json, pathlib, sys
place = pathlib.Path(sys.argv[1])
(place / "done.json").write_text(json.dumps({"ended": 2.0, "seconds": 10.0, "loading": 6.0}))
if place.name.startswith("sweep"):
    (place / "sweep").mkdir()
    passes = {"val": {"task": "val", "seconds": 4.0, "new": 8, "contenders": {}}}
    found = {"validation": {}, "test": {}, "refused": {}, "passes": passes}
    content = {"version": VERSION, "complete": True, "settings": {}, "tasks": {"t": found}}
    (place / "sweep" / "sweep.json").write_text(json.dumps(content))
"""


def study_of(**changes: Any) -> Study:
    """Two parents, two children and two tasks, on models that are nowhere."""
    given = {
        "parents": {name: {"model_args": {"pretrained": f"org/{name}"}} for name in ("big", "huge")},
        "children": {name: {"model_args": {"pretrained": f"org/{name}"}} for name in ("one", "two")},
        "tasks": ["arith_steer", "sentiment_steer"],
        "maps": ["cut", "ridge:0.05"],
        "controls": "random:5",
        "alpha": [1, 2, 3],
        "overrides": {"*": {"limit": 500, "batch_size": 7}},
    }
    return make_study(given | changes)


def test_every_model_and_every_task_is_piloted_once_and_with_few_documents() -> None:
    found = pilot_stages(study_of(), 3)
    assert [stage.name for stage in found if stage.kind == "sweep"] == [
        "sweep one arith_steer", "sweep one sentiment_steer", "sweep two arith_steer"
    ]  # fmt: skip
    assert [stage.name for stage in found if stage.kind != "sweep"] == [
        "extract one arith_steer", "extract one sentiment_steer", "extract two arith_steer",
        "extract big arith_steer", "extract huge arith_steer",
        "states big", "states one", "states huge", "states two",
    ]  # fmt: skip
    sweep = found[-1].arguments
    assert (sweep["limit"], sweep["val_limit"], sweep["batch_size"], sweep["alpha"]) == (3, 3, 7, [1, 2, 3])
    assert list(sweep["arms"]) == ["own"]
    assert "controls" not in sweep
    assert [stage.arguments["args"]["n"] for stage in found if stage.kind == "extract"] == [3] * 5
    assert {stage.arguments["texts"]["n"] for stage in found if stage.kind == "states"} == {3}


def test_what_is_not_needed_is_not_piloted() -> None:
    names = {stage.name for stage in pilot_stages(study_of(own=False, maps=["cut"], tasks=["arith_steer"]), 1)}
    assert names == {
        "extract one arith_steer", "extract two arith_steer", "extract big arith_steer", "extract huge arith_steer",
        "sweep one arith_steer", "sweep two arith_steer",
    }  # fmt: skip


def test_hours_are_those_of_loading_and_of_each_document_by_the_rule_of_three(tmp_path: Path) -> None:
    study, grid = study_of(extract={"n": 100}), Grid(tmp_path / "pilot")
    stages, pilot = make_stages(study), pilot_stages(study, 4)
    grid.enter(pilot)
    # Seconds of asking for eight responses; a start of six seconds each.
    asking = {("one", "arith_steer"): 4.0, ("two", "arith_steer"): 8.0, ("one", "sentiment_steer"): 2.0}
    for one in pilot:
        if one.kind == "sweep":
            put_sweep(grid, one, asking[one.about["child"], one.about["task"]])
        else:
            grid.end(one.folder, "done", seconds=10.0, loading=6.0)
    responses = {stage.folder: 1000.0 for stage in stages if stage.kind == "sweep"}
    hours = tell_hours(stages, responses, pilot, grid)
    found = {stage.name: hours[stage.folder] * 3600 for stage in stages if stage.folder in hours}
    assert found["extract big sentiment_steer"] == pytest.approx(6 + 100 * 4 / 4)
    assert found["states two"] == pytest.approx(6 + 1400 * 4 / 4)
    assert found["sweep one arith_steer"] == pytest.approx(6 + 1000 * 4 / 8)
    assert found["sweep two arith_steer"] == pytest.approx(6 + 1000 * 8 / 8)
    assert found["sweep two sentiment_steer"] == pytest.approx(6 + 1000 * (8 / 8) * (2 / 4))
    assert not [name for name in found if name.startswith(("transfer", "leaderboard", "report"))]
    grid.place(next(one.folder for one in pilot if one.name == "sweep one sentiment_steer")).joinpath(
        "done.json"
    ).unlink()
    assert "sweep two sentiment_steer" not in {
        one.name for one in stages if one.folder in tell_hours(stages, responses, pilot, grid)
    }


def put_sweep(grid: Grid, stage: Stage, asking: float) -> None:
    """A sweep of eight responses on validation and test together."""
    passes = {side: {"task": side, "seconds": asking / 2, "new": 4, "contenders": {}} for side in ("val", "test")}
    found = {"validation": {}, "test": {}, "refused": {}, "passes": passes}
    place = grid.place(stage.folder) / "sweep"
    place.mkdir()
    content = {"version": VERSION, "complete": True, "settings": {}, "tasks": {"t": found}}
    (place / "sweep.json").write_text(json.dumps(content))
    grid.end(stage.folder, "done", seconds=6.0 + asking)


def test_the_plan_runs_a_pilot_once_and_tells_hours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    child = str(models.save_model(tmp_path / "c", "llama"))
    study = tmp_path / "study.yaml"
    study.write_text(
        f"children: {{one: {{model_args: {{pretrained: {child}}}}}}}\n"
        "tasks: [arith_steer]\nlimit: 4\nval_limit: 4\nalpha: [1]\n"
    )
    began: list[str] = []

    def command(grid: Grid, stage: Stage) -> list[str]:
        began.append(stage.name)
        return [sys.executable, "-c", PROCESS.replace("VERSION", str(VERSION)), str(grid.place(stage.folder))]

    monkeypatch.setattr(grid_run, "command_of", command)
    for _ in range(2):
        assert main(["grid", "plan", str(study), "--pilot", "2", "--list"]) == 0
        rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
        assert began == ["extract one arith_steer", "sweep one arith_steer"]
        # The sweep asks for 8 documents at two strengths, half a second each, after six of loading.
        assert [(row[2], row[4]) for row in rows[:2]] == [
            ("extract one arith_steer", f"{(6 + 128 * 2) / 3600:.4f}"),
            ("sweep one arith_steer", f"{(6 + 16 * 0.5) / 3600:.4f}"),
        ]  # fmt: skip
        assert [row[4] for row in rows[2:]] == ["", ""]
    assert (tmp_path / "study-pilot" / "grid.json").exists()
    assert main(["grid", "plan", str(study), "--pilot", "2"]) == 0
    assert "hours" in capsys.readouterr().out
    assert main(["grid", "plan", str(study), "--pilot", "0"]) == 2
    assert "--pilot 0 is no number of documents" in capsys.readouterr().err
    monkeypatch.setattr(grid_run, "command_of", lambda *_: [sys.executable, "-c", "raise SystemExit(3)"])
    assert main(["grid", "plan", str(study), "--pilot", "3", "--list"]) == 1
