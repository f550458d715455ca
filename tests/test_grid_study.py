"""The file of a study, and the stages that follow from it."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import fields
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml

import models
from lm_eval_steer.cli.main import main
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.grid import stages as grid_stages
from lm_eval_steer.grid.check import find_problems
from lm_eval_steer.grid.overview import count_alone, tell_stages
from lm_eval_steer.grid.settings import TRANSFER
from lm_eval_steer.grid.stage import KINDS, Stage
from lm_eval_steer.grid.stages import make_stages
from lm_eval_steer.grid.study import make_study, read_study
from lm_eval_steer.transfer.args import TransferArgs

PRESETS = files("lm_eval_steer.grid") / "presets"


def content(**changes: Any) -> dict[str, Any]:
    """One parent, two children, two tasks, on models that are nowhere."""
    return {
        "parents": {"big": {"model_args": {"pretrained": "org/big"}}},
        "children": {name: {"model_args": {"pretrained": f"org/{name}"}} for name in ("one", "two-1.5b")},
        "tasks": ["arith_steer", "sentiment_steer"],
        "maps": ["cut", "ridge:0.05"],
        "controls": "random:1,map-shuffled:2",
    } | changes


def stages_of(**changes: Any) -> list[Stage]:
    return make_stages(make_study(content(**changes)))


def touched(before: list[Stage], after: list[Stage]) -> set[str]:
    """What of the second study the first has not."""
    known = {stage.folder for stage in before}
    return {stage.name for stage in after if stage.folder not in known}


def kinds(names: set[str]) -> set[str]:
    return {name.split(" ")[0] for name in names}


@pytest.mark.parametrize(
    ("preset", "counts", "alone"),
    [
        # 2 children and 1 parent x 2 tasks; 3 models; 1 x 2 x 2 cells with one fitted map; 2 children x 2 tasks.
        ("small", [6, 3, 4, 4, 1, 1], [16, 8, 4, 8, 1, 1]),
        # 10 models x 3 tasks; 10 models; 3 x 7 x 3 cells with one fitted map; 7 x 3.
        ("paper", [30, 10, 63, 21, 1, 1], [252, 126, 63, 126, 1, 1]),
    ],
)
def test_what_cells_share_is_done_once(preset: str, counts: list[int], alone: list[int]) -> None:
    study = make_study(yaml.safe_load((PRESETS / f"{preset}.yaml").read_text(encoding="utf-8")))
    found = make_stages(study)
    assert Counter(stage.kind for stage in found) == dict(zip(KINDS, counts, strict=True))
    assert count_alone(study) == dict(zip(KINDS, alone, strict=True))


def test_a_stage_stands_behind_all_that_it_needs() -> None:
    found = stages_of()
    behind: set[str] = set()
    for stage in found:
        assert set(stage.needs) <= behind, stage.name
        behind.add(stage.folder)
    lines = [line.split("\t") for line in tell_stages(found)]
    sweep = next(line for line in lines if line[2] == "sweep one arith_steer")
    needed = {lines[int(number)][2] for number in sweep[3].split(",")}
    assert needed == {
        "extract one arith_steer", "extract big arith_steer", "transfer big one arith_steer ridge-0-05"
    }  # fmt: skip
    arms = next(stage for stage in found if stage.name == "sweep one arith_steer").arguments["arms"]
    assert list(arms) == ["own", "big-cut", "big-ridge-0-05"]


def test_an_edit_touches_what_it_is_about_and_what_needs_that() -> None:
    before = stages_of()
    boards = {"leaderboard", "report"}
    assert touched(before, stages_of()) == set()
    assert kinds(touched(before, stages_of(limit=8))) == {"sweep", *boards}
    assert touched(before, stages_of(overrides={"*-1.5b/arith*": {"limit": 8}})) == {
        "sweep two-1.5b arith_steer", *boards
    }  # fmt: skip
    of_extraction = touched(before, stages_of(overrides={"big": {"extract": {"n": 9}}}))
    assert {name for name in of_extraction if name.startswith("extract")} == {
        "extract big arith_steer", "extract big sentiment_steer"
    }  # fmt: skip
    assert kinds(of_extraction) == {"extract", "transfer", "sweep", *boards}
    assert kinds(touched(before, stages_of(transfer={"n": 9}))) == {"states", "transfer", "sweep", *boards}
    assert kinds(touched(before, stages_of(controls="random:1,map-shuffled:1"))) == {"transfer", "sweep", *boards}
    assert kinds(touched(before, stages_of(controls="random:2,map-shuffled:2"))) == {"sweep", *boards}
    third = {"children": content()["children"] | {"three": {"model_args": {"pretrained": "org/three"}}}}
    assert all("three" in name for name in touched(before, stages_of(**third)) - boards)


def test_sizes_places_and_resources_touch_nothing() -> None:
    sizes = {"batch_size": 4, "device": "cpu", "model_args": {"max_batch_size": 2}, "extract": {"batch_size": 2}}
    assert touched(stages_of(), stages_of(**sizes, resources={"sweep": {"hours": 3}})) == set()


def test_a_model_is_known_by_its_files_wherever_they_lie(tmp_path: Path) -> None:
    def of(folder: Path) -> list[Stage]:
        return stages_of(children={"one": {"model_args": {"pretrained": str(folder)}}})

    here = models.save_model(tmp_path / "here", "llama")
    there = Path(shutil.copytree(here, tmp_path / "there"))
    assert touched(of(here), of(there)) == set()
    other = models.save_model(tmp_path / "other", "llama", seed=1)
    assert kinds(touched(of(here), of(other))) == {*KINDS}
    twice = {name: {"model_args": {"pretrained": str(folder)}} for name, folder in (("one", here), ("two", there))}
    assert Counter(stage.kind for stage in stages_of(children=twice)) == Counter(stage.kind for stage in of(here))


def test_a_file_is_known_by_its_content(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text("a")
    before = stages_of(extract={"pairs": str(path)})
    assert touched(before, stages_of(extract={"pairs": str(path.rename(tmp_path / "b"))})) == set()


def test_another_release_makes_tables_anew_and_no_sweeps(monkeypatch: pytest.MonkeyPatch) -> None:
    before = stages_of()
    monkeypatch.setattr(grid_stages, "REVISIONS", {**grid_stages.REVISIONS, "leaderboard": "9.9.9", "report": "9.9.9"})
    assert touched(before, stages_of()) == {"leaderboard", "report"}


def test_what_is_more_particular_goes_over_what_is_more_general() -> None:
    study = make_study(
        content(
            model_args={"dtype": "float32"},
            alpha=[1],
            tasks={"arith_steer": {"limit": 5}, "sentiment_steer": {"dose": [0.1]}},
            children={"one": {"model_args": {"pretrained": "org/one", "dtype": "bfloat16"}, "limit": 3}},
            overrides={"on?": {"batch_size": 32}, "one/arith*": {"batch_size": 64, "model_args": {"revision": "x"}}},
            resources={"sweep": {"hours": 3}},
        )
    )
    arith, sentiment = (study.settings("one", task) for task in ("arith_steer", "sentiment_steer"))
    assert arith["model_args"] == {"pretrained": "org/one", "dtype": "bfloat16", "revision": "x"}
    assert (arith["limit"], arith["batch_size"], arith["alpha"]) == (5, 64, [1])
    assert (sentiment["limit"], sentiment["batch_size"], sentiment["dose"]) == (3, 32, [0.1])
    assert "alpha" not in sentiment
    assert "dose" not in arith
    assert study.settings("big")["batch_size"] == "auto"
    assert arith["resources"]["sweep"] == {"gpus": 1, "hours": 3}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"childs": {}}, "the study has the key 'childs', which there is not"),
        ({"limits": 3}, r"which there is not \(the nearest name is limit\)"),
        ({"children": {"one": {"model_arg": {}}}}, r"children: one has .* \(the nearest name is model_args\)"),
        ({"children": {"one": {}}}, "children: one says no model"),
        ({"children": {}}, "it names no children"),
        ({"tasks": []}, "it names no tasks"),
        ({"parents": {}, "own": False}, "it names no parents and no own vectors"),
        ({"parents": {"one": {"model_args": {"pretrained": "x"}}}}, "both have the name one"),
        ({"parents": {"own": {"model_args": {"pretrained": "x"}}}}, "parents has the name 'own'"),
        ({"extract": {"methods": "pca"}}, r"the study: extract has .* \(the nearest name is method\)"),
        ({"resources": {"sweep": {"gpu": 1}}}, r"resources: sweep has .* \(the nearest name is gpus\)"),
        ({"arms": {"prompts": "x"}}, r"the study: arms has .* \(the nearest name is prompt\)"),
        ({"maps": ["cut", "rigde"]}, "width_map='rigde' is not understood"),
        ({"maps": {"a": {"layer_map": "gredy"}}}, "width_map='a' is not understood"),
        ({"maps": []}, "maps is empty"),
        ({"alpha": "paper", "dose": [0.1]}, "has alpha 'paper' and dose .0.1.: a sweep has one set"),
        ({"overrides": {"three*": {}}}, r"overrides: three\* matches nothing"),
        ({"overrides": {"arith_ster": {}}}, r"matches nothing \(the nearest name is arith_steer\)"),
        ({"tasks": "arith_steer"}, "tasks is 'arith_steer'"),
        ({"own": "yes"}, "own is 'yes'"),
        ({"maps": ["cut"], "parents": {n: {"model_args": {"pretrained": "x"}} for n in ("a.b", "a-b")}}, "the arm a-b"),
    ],
)
def test_what_is_wrong_with_a_plan_is_one_sentence(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SteeringError, match=sentence):
        make_study(content(**changes))


def test_a_file_that_is_no_plan_is_named(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text("parents: [")
    with pytest.raises(SteeringError, match=r"study\.yaml is no YAML"):
        read_study(path)
    path.write_text("- 1")
    with pytest.raises(SteeringError, match=r"study\.yaml: the study is \[1\]"):
        read_study(path)


def test_every_model_that_is_not_there_is_told_of_before_anything_runs(tmp_path: Path) -> None:
    there = models.save_model(tmp_path / "there", "llama")
    study = make_study(
        content(
            parents={"big": {"model_args": {"pretrained": str(tmp_path / "nowhere")}}},
            children={
                "one": {"model_args": {"pretrained": str(there)}},
                "two": {"model_args": {"pretrained": str(tmp_path / "nor here")}},
            },
            tasks=["arith_steer"],
            maps=["ridge"],
            transfer={"task": "arith_steer", "n": 1_000_000},
            extract={"n": 1},
            overrides={"two/*": {"val_limit": -1}},
        )
    )
    problems = find_problems(study, make_stages(study))
    assert [problem.split(": ")[:2] for problem in problems[:2]] == [["parents", "big"], ["children", "two"]]
    assert all("cannot be loaded: there is no folder" in problem for problem in problems[:2])
    others = ["extract one arith_steer", "states big", "sweep two arith_steer"]
    assert [problem.split(":")[0] for problem in problems[2:]] == others
    assert all(said in told for said, told in zip(["1 pair", "1000000", "--val_limit -1"], problems[2:], strict=True))


def test_a_preset_is_a_plan_that_can_be_shown(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["grid", "init", "--preset", "paper"]) == 0
    path = tmp_path / "study.yaml"
    path.write_text(capsys.readouterr().out)
    assert main(["grid", "plan", str(path), "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 126
    assert [line.split("\t")[0] for line in lines] == [str(number) for number in range(126)]


def test_options_of_a_transfer_are_options_of_the_command() -> None:
    assert set(TRANSFER) <= {field.name for field in fields(TransferArgs)}
