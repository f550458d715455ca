"""How a vector is meant to act, as a passport of anyone may say it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from conftest import make_vector
from lm_eval_steer.cli.main import main
from lm_eval_steer.cli.output import steered
from lm_eval_steer.interventions.meant import ACTING, meant
from lm_eval_steer.vectors.vector import SteeringVector


def test_only_what_acts_may_be_said() -> None:
    """Not which vector, what counts as a leak, how a child is read, or where files go."""
    assert {"alpha", "dose", "alpha_per_layer", "layers", "tokens", "operator"} <= set(ACTING)
    named = {"vectors", "control", "allow_leak", "allow_other_child", "blocks", "system_role", "record", "seed", "vote"}
    assert not named & set(ACTING)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"tokens": "last", "dose": 0.1}, {"tokens": "last", "dose": "0.1"}),
        ({"alpha": [0.04, 2], "layers": "10-20"}, {"alpha": "[0.04,2]", "layers": "10-20"}),
        ({"alpha": "0.1:0.9:0.1", "normalize": True}, {"alpha": "0.1:0.9:0.1", "normalize": "True"}),
        ({"alpha_per_layer": "peak:12:4", "alpha": -1e-3}, {"alpha_per_layer": "peak:12:4", "alpha": "-0.001"}),
    ],
)
def test_arguments_are_told_as_model_args_take_them(said: Any, told: dict[str, str]) -> None:
    assert meant(said) == told


@pytest.mark.parametrize(
    "said",
    [
        *(None, [], "tokens=last", {}, {"tokens": "last", "gate": 1}, {"dose": float("nan")}, {"dose": None}),
        *({"tokens": "last,allow_leak=True"}, {"tokens": "last --tasks"}, {"tokens": ""}, {"tokens": "l\nast"}),
        *({"alpha": []}, {"alpha": ["0.1"]}, {"alpha": {"a": 1}}, {"alpha": 10**400}, {"tokens": "last\n"}),
    ],
)
def test_what_is_not_understood_whole_is_ignored_whole(said: Any) -> None:
    assert meant(said) == {}


def test_a_command_has_a_strength_whatever_is_said() -> None:
    assert steered("v.pt", steering={"tokens": "last"}) == "pretrained=CHILD,vectors=v.pt,tokens=last,alpha=0.04"
    assert steered("v.pt", steering={"dose": "0.1"}) == "pretrained=CHILD,vectors=v.pt,dose=0.1"
    assert steered("v.pt") == "pretrained=CHILD,vectors=v.pt,alpha=0.04"


def test_a_passport_that_would_say_more_is_shown_and_not_followed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    vector = make_vector(2, 4)
    odd = {"steering": {"tokens": "last", "allow_leak": True}}
    path = SteeringVector(vector.directions, vector.layers, vector.passport | odd).save(tmp_path / "odd.pt")
    assert main(["vectors", "show", str(path)]) == 0
    shown = capsys.readouterr().out
    assert "steering.allow_leak" in shown
    assert "or steer with it:\n" in shown
    assert f"pretrained=CHILD,vectors={path},alpha=0.04 --tasks TASK" in shown
