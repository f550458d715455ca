"""What competes in a sweep: vectors, the controls of each, files that are controls by their passport."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import make_transferred, make_vector
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.controls import control_in, read_controls
from lm_eval_steer.sweep import SweepArgs
from lm_eval_steer.sweep.contenders import Contender, find_contenders
from lm_eval_steer.vectors.vector import SteeringVector

TEXTS = {"source": "task", "tasks": ["toy", "other"], "n": 40, "cut": [6, 40], "rows": ["a", "b"], "rows_sha256": "ab"}
SAID: dict[str, Any] = {"texts": TEXTS, "tokens": "last", "apply_chat_template": False, "allow_leak": False}


def mapped(**changes: Any) -> SteeringVector:
    """A vector that was carried to a child of 3 x 8."""
    vector = make_transferred(blocks=3, width=8, **(SAID | changes))
    vector.passport["transfer"] |= {"seed": 3}  # of the texts; that of `changes` draws directions
    return vector


@pytest.fixture
def save(tmp_path: Path) -> Callable[[str, SteeringVector], str]:
    return lambda name, vector: str(vector.save(tmp_path / f"{name}.safetensors"))


@pytest.fixture
def files(save: Callable[[str, SteeringVector], str]) -> dict[str, str]:
    """The child's own vector, one that a map carried, with two shuffled twins beside it, and one that was cut."""
    for seed in (1, 2):
        save(f"ridge.map-shuffled-{seed}", mapped(seed=3, shuffled=seed))
    cut = mapped(width_map={"name": "cut"}, texts=None)
    return {"own": save("own", make_vector(3, 8)), "ridge": save("ridge", mapped()), "cut": save("cut", cut)}


def found(arms: dict[str, str], controls: str = "none", only: Any = None) -> dict[str, Contender]:
    return {one.name: one for one in find_contenders(arms, only, read_controls(controls))}


def refusal(arms: dict[str, str], controls: str = "none") -> str:
    with pytest.raises(SteeringError) as told:
        found(arms, controls)
    assert "\n" not in str(told.value)
    return str(told.value)


def test_each_vector_has_its_controls_behind_it_and_shared_ones_stand_at_the_end(files: dict[str, str]) -> None:
    several = found(files, "random:1,map-shuffled:2,negated,identity")
    assert list(several) == [
        *("own", "own negated"),
        *("ridge", "ridge map-shuffled:1", "ridge map-shuffled:2", "ridge negated"),  # the only one with a fitted map
        *("cut", "cut negated", "random:1", "identity"),
    ]
    assert several["ridge negated"].arguments == {"vectors": files["ridge"], "control": "negated"}
    beside = files["ridge"].replace(".safetensors", ".map-shuffled-2.safetensors")
    assert several["ridge map-shuffled:2"].arguments == {"vectors": beside}  # a file like any other
    assert several["random:1"].arguments == {"vectors": files["own"], "control": "random:1"}
    assert several["ridge map-shuffled:2"].arm("vote").folder == "ridge_map-shuffled-2_vote"
    assert all(one.is_searched for name, one in several.items() if name != "identity")


def test_the_only_vector_has_controls_without_its_name(files: dict[str, str]) -> None:
    alone = found({}, "map-shuffled:1,negated,random:1", files["ridge"].removesuffix(".safetensors"))
    assert list(alone) == ["vector", "map-shuffled:1", "negated", "random:1"]
    assert alone["negated"].arguments == {"control": "negated"}
    assert alone["map-shuffled:1"].arguments["vectors"].endswith("ridge.map-shuffled-1.safetensors")


def test_a_file_that_is_a_control_by_its_passport_is_one_of_its_vector(
    files: dict[str, str], save: Callable[[str, SteeringVector], str]
) -> None:
    twin = save("anything", mapped(shuffled=7, seed=4))
    for arms in ({"twin": twin, **files}, {**files, "twin": twin}):
        several = found(arms, "negated")
        assert list(several)[:4] == ["own", "own negated", "ridge", "ridge map-shuffled:7"]
        assert several["ridge map-shuffled:7"].arguments == {"vectors": twin}
        assert "twin" not in several
        assert not any(name.endswith("map-shuffled:7 negated") for name in several)


@pytest.mark.parametrize(
    "change",
    [
        {"width_map": {"name": "ridge", "lambda": 0.1}},
        {"layer_map": {"name": "cka"}},
        {"texts": TEXTS | {"rows_sha256": "cd"}},
        {"tokens": "mean"},
        {"seed": 4},
        {"parents": [{"name": "org/parent-0", "weight": 1.0, "fingerprint": "of another concept"}]},
    ],
    ids=str,
)
def test_a_control_of_another_map_is_one_of_none(
    change: dict[str, Any], files: dict[str, str], save: Callable[[str, SteeringVector], str]
) -> None:
    vector = mapped(shuffled=1)
    twin = SteeringVector(
        vector.directions, vector.layers, {**vector.passport, "transfer": vector.passport["transfer"] | change}
    )
    several = found(files | {"twin": save("twin", twin)})
    assert list(several) == ["own", "ridge", "cut", "twin map-shuffled:1"]


def test_a_control_alone_is_what_it_is(files: dict[str, str]) -> None:
    file = files["ridge"].replace(".safetensors", ".map-shuffled-1.safetensors")
    assert list(found({}, "random:1", file)) == ["map-shuffled:1", "random:1"]
    assert refusal({"twin": file}, "negated") == (
        "--controls asks for negated, which takes a vector that is no control itself, and the sweep has none: leave "
        "negated out, or name such a vector"
    )


def test_a_missing_file_is_told_with_the_command_that_makes_it(files: dict[str, str]) -> None:
    beside = files["ridge"].replace(".safetensors", ".map-shuffled-3.safetensors")
    assert refusal(files, "map-shuffled:3") == (
        f"the control ridge map-shuffled:3 is the vector file {beside}, and there is none: make it with: "
        "lm-eval-steer transfer VECTOR --child child --width_map ridge:0.05 --layer_map proportional --task toy,other "
        f"--n 40 --tokens last --seed 3 --shuffle_texts 3 --out {beside} (VECTOR: what was carried)"
    )


def test_the_command_names_what_else_was_given(save: Callable[[str, SteeringVector], str]) -> None:
    vector = mapped(
        parents=2, texts={"source": "file", "name": "my texts.jsonl", "n": 9, "rows": ["a"]}, apply_chat_template=True,
        width_map={"name": "lstsq"}, layer_map={"name": "list", "blocks": {"0": 0, "2": 4}}, allow_leak=True,
    )  # fmt: skip
    vector.passport["transfer"]["parents"][0]["weight"] = 0.25
    assert (
        "transfer VECTOR VECTOR2 --child child --weights 0.25,0.5 --width_map lstsq --layer_map 0:0,2:4 "
        "--texts 'my texts.jsonl' --n 9 --tokens last --seed 3 --apply_chat_template --allow_leak --shuffle_texts 1"
    ) in refusal({"both": save("both", vector)}, "map-shuffled:1")


def test_a_file_beside_a_vector_that_is_no_control_of_it(
    files: dict[str, str], save: Callable[[str, SteeringVector], str]
) -> None:
    for wrong in (mapped(), mapped(shuffled=2), mapped(shuffled=1, tokens="all"), make_vector(3, 8)):
        file = save("ridge.map-shuffled-1", wrong)
        assert refusal(files, "map-shuffled:1").startswith(
            f"{file} is not the control ridge map-shuffled:1, by its passport, but another vector: make it with: "
        )


def test_maps_that_are_not_fitted_have_no_shuffled_twin(files: dict[str, str]) -> None:
    sentence = (
        "--controls asks for map-shuffled:1, which takes a map that was fitted from parent to child, and the sweep has "
        "none: leave map-shuffled out, or name such a vector"
    )
    chosen_by_texts = mapped(width_map={"name": "cut"}, layer_map={"name": "cka"})
    cka = str(chosen_by_texts.save(Path(files["own"]).with_name("cka.pt")))
    assert refusal({"own": files["own"], "cut": files["cut"], "cka": cka}, "map-shuffled:1") == sentence


def test_the_same_file_may_be_named_twice_and_another_one_may_not(
    files: dict[str, str], save: Callable[[str, SteeringVector], str]
) -> None:
    file = files["ridge"].replace(".safetensors", ".map-shuffled-1.safetensors")
    assert list(found({"ridge": files["ridge"], "twin": file}, "map-shuffled:2")) == [
        *("ridge", "ridge map-shuffled:1", "ridge map-shuffled:2"),
    ]
    other = save("other", SteeringVector(-mapped().directions, (0, 1, 2), mapped(shuffled=1).passport))
    assert refusal({"ridge": files["ridge"], "twin": other}, "map-shuffled:1") == (
        f"{other} and {file} are both ridge map-shuffled:1: leave one of them out"
    )


@pytest.mark.parametrize(("name", "control"), [("own_negated", "own negated"), ("random-1", "random:1")])
def test_names_that_would_share_a_folder(name: str, control: str, files: dict[str, str]) -> None:
    told = refusal({"own": files["own"], name: files["cut"]}, "random:1,negated")
    assert told.startswith(f"--arms calls a vector {name}, and ")
    assert control in told
    assert told.endswith("would lie in one folder: rename the vector")


def test_seeds_that_there_are_not(tmp_path: Path) -> None:
    for seed in (0, -1, True, "1"):
        with pytest.raises(SteeringError, match=r"transfer\.shuffled is .*, expected a seed from 1 to 999,999,999"):
            mapped(shuffled=seed)
    assert control_in({"transfer": {"shuffled": None}}) is None
    assert control_in({"transfer": []}) is None
    assert control_in(None) is None


def test_plans_are_of_the_files(files: dict[str, str], tmp_path: Path) -> None:
    args = SweepArgs("steered-hf", {"pretrained": "child"}, ["toy"], str(tmp_path / "out"), alpha=[1], arms=files,
                     controls="map-shuffled:1,negated,random:1")  # fmt: skip
    plans = args.plans()
    assert list(plans) == [one.name for one in args.contenders]
    told = {name: (plan.vector.fingerprint, plan.control) for name, plan in plans.items() if plan.vector}
    assert told["ridge negated"][0] == told["ridge"][0] == mapped().fingerprint
    assert told["ridge map-shuffled:1"] == (mapped(seed=3).fingerprint, None)
    assert told["random:1"][0] == told["own"][0]
    settings = args.settings(plans, {}, {})
    assert settings["vectors"] == {name: told[name][0] for name in ("own", "ridge", "ridge map-shuffled:1", "cut")}
    assert settings["controls"] == ["own negated", "ridge negated", "cut negated", "random:1"]
    assert np.array_equal(plans["ridge"].vector.directions, mapped().directions)  # type: ignore[union-attr]
