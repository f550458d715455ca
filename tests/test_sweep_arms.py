"""lm-eval-steer sweep --arms: several vectors by name in one sweep."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from conftest import make_vector
from lm_eval_steer.compare.result_files import samples_file
from lm_eval_steer.compare.runs import read_runs
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.models.hf import SteeredHF
from lm_eval_steer.sweep import make_table
from lm_eval_steer.sweep.contenders import read_arms
from sweeps import SMALL, make_args, responses, single, sweep, texts

pytestmark = pytest.mark.usefixtures("hurried")


@pytest.fixture(scope="module")
def bare(child: dict[str, Any]) -> dict[str, Any]:
    """The same without its vector."""
    return {key: value for key, value in child.items() if key != "vectors"}


@pytest.fixture(scope="module")
def files(child: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Two vectors."""
    other = make_vector(seed=1).save(tmp_path_factory.mktemp("other") / "other.pt")
    return {"own": child["vectors"], "mapped": str(other)}


def test_each_vector_has_arms_of_its_own_beside_one_baseline(
    child: dict[str, Any], bare: dict[str, Any], files: dict[str, str], tmp_path: Path
) -> None:
    more: dict[str, Any] = {"controls": "negated", "per_layer": "coordinate", "budget": 3}
    state = sweep(bare, tmp_path / "both", **SMALL, **more, arms=files)
    alone = sweep(child, tmp_path / "alone", **SMALL, **more)
    found, expected = (one["tasks"]["parity_steer"] for one in (state, alone))
    roles = ("best", "vote", "per-layer")
    assert list(found["test"]) == ["baseline"] + [
        f"{of} {role}" for of in ("own", "own negated", "mapped", "mapped negated") for role in roles
    ]
    assert list(state["settings"]["vectors"]) == ["own", "mapped"]
    for name, entry in found["test"].items():
        own = name.removeprefix("own ")
        if own in expected["test"]:  # the first vector and its controls are as in a sweep of it alone
            volatile = ("vector", "result", "digest", "doses", "share_of_own")
            told = [
                {key: value for key, value in one.items() if key not in volatile}
                for one in (entry, expected["test"][own])
            ]
            assert told[0] == told[1]
        (run,) = read_runs([(tmp_path / "both" / entry["result"]).parent])
        told = {"own": ("own", "random"), "mapped": ("mapped", "other"), "baseline": (None, "random")}
        assert (entry["vector"], run.vectors) == told[name.split(" ")[0]]
        assert samples_file(run.path, run.task).exists()
    best = found["validation"]["best"]["mapped"]
    assert responses(tmp_path / "both", "mapped_best") == texts(
        single(bare, limit=2.0, vectors=files["mapped"], alpha=best)
    )
    for task in ("parity_steer_val", "parity_steer"):
        new = {of: share["new"] for of, share in found["passes"][task]["contenders"].items()}
        assert new == {"own": 6, "own negated": 4, "mapped": 4, "mapped negated": 4}  # the baseline is asked once
    assert make_table("parity_steer", found, "alpha").row_count == 13


def test_vectors_may_be_added_behind_the_first(
    bare: dict[str, Any], files: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = {"own": files["own"]}
    sweep(bare, tmp_path, **SMALL, arms=first)
    state = sweep(bare, tmp_path, **SMALL, arms=files)
    assert state["tasks"]["parity_steer"]["passes"]["parity_steer"]["contenders"]["own"]["new"] == 6
    with pytest.raises(SteeringError, match="another first vector"):
        sweep(bare, tmp_path, **SMALL, arms=dict(reversed(files.items())))
    with pytest.raises(SteeringError, match="another vector own: it has "):
        sweep(bare, tmp_path, **SMALL, arms={"own": files["mapped"], "mapped": files["mapped"]})
    with pytest.raises(SteeringError, match=r"another vector mapped: it has .*, this one None"):
        sweep(bare, tmp_path, **SMALL, arms=first)
    monkeypatch.setattr(SteeredHF, "__init__", lambda *_, **__: pytest.fail("the model is loaded"))
    assert sweep(bare, tmp_path, **SMALL, arms=files) == json.loads(json.dumps(state))


@pytest.mark.parametrize(
    ("arms", "sentence"),
    [
        ("own", "--arms 'own' is not name=file throughout: give each vector a name of letters, digits, - and _"),
        ("", "--arms '' is not name=file throughout"),
        ("own=", "--arms 'own=' is not name=file throughout"),
        ("own=a.pt,own=b.pt", "--arms names own twice, a.pt and b.pt: name every vector once"),
        ("my own=a.pt", "--arms calls a vector 'my own', which is no word"),
        ("ä=a.pt", "--arms calls a vector 'ä', which is no word"),
        *(
            (f"{name}=a.pt", f"--arms calls a vector {name}, which is what a sweep calls another thing: rename it")
            for name in ("baseline", "best", "vote", "per-layer", "vector", "negated", "random", "none")
        ),
        ({}, "--arms names no vector"),
        (["own"], "--arms 'own' is not name=file throughout"),
        (7, "--arms 7 is not understood"),
    ],
)
def test_names_that_cannot_be(arms: Any, sentence: str, child: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(SteeringError, match=sentence) as told:
        make_args(child, tmp_path, arms=arms)
    assert "\n" not in str(told.value)


def test_the_text_of_the_command_is_read() -> None:
    assert read_arms("own=v.pt, mapped=a=b.pt") == {"own": "v.pt", "mapped": "a=b.pt"}


def test_vectors_that_cannot_be(
    child: dict[str, Any], bare: dict[str, Any], files: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SteeredHF, "__init__", lambda *_, **__: pytest.fail("the model is loaded"))
    with pytest.raises(SteeringError, match=r"vectors='.*' is in --model_args, and --arms names vectors, too"):
        sweep(child, tmp_path, **SMALL, arms=files)
    with pytest.raises(SteeringError, match=r"nowhere\.pt"):
        sweep(bare, tmp_path, **SMALL, arms=files | {"lost": "nowhere.pt"})


def test_votes_of_some_are_left_out_and_may_be_added(
    bare: dict[str, Any], files: dict[str, str], tmp_path: Path
) -> None:
    wanted: dict[str, Any] = {**SMALL, "arms": files, "controls": "random:1"}
    task = sweep(bare, tmp_path, **wanted, votes=["none"])["tasks"]["parity_steer"]
    assert list(task["test"]) == ["baseline", "own best", "mapped best", "random:1 best"]
    asked = {of: share["new"] for of, share in task["passes"]["parity_steer"]["contenders"].items()}
    assert asked == {"own": 4, "mapped": 2, "random:1": 2}  # the baseline too; no strength but the best
    task = sweep(bare, tmp_path, **wanted, votes=["own"])["tasks"]["parity_steer"]
    assert list(task["test"]) == ["baseline", "own best", "own vote", "mapped best", "random:1 best"]
    assert task["passes"]["parity_steer"]["contenders"]["own"]["new"] == 2  # the other strength, of two documents
    with pytest.raises(SteeringError, match=r"another votes: it has \['own'\], this one \['mapped'\]"):
        sweep(bare, tmp_path, **wanted, votes=["mapped"])
    assert len(sweep(bare, tmp_path, **wanted)["tasks"]["parity_steer"]["test"]) == 7
    with pytest.raises(SteeringError, match="--votes other is nothing that has strengths here: name some of own, ma"):
        make_args(bare, tmp_path, **wanted, votes=["other"])
