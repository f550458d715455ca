"""Strengths in what an extraction measured: deviations and distances of projections, block by block."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from conftest import make_transferred, make_vector
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.plan import SteeringPlan
from lm_eval_steer.vectors.identity import Identity
from lm_eval_steer.vectors.vector import SteeringVector

MODEL = Identity("org/random-0")
NEGATIVE, POSITIVE, DEVIATION = (-1.0, 2.0, 0.5), (1.0, 8.0, 0.25), (4.0, 3.0, 0.125)


def measured(**changes: Any) -> SteeringVector:
    vector = make_vector()
    blocks = [
        {"block": block, "projection_negative": negative, "projection_positive": positive, "projection_deviation": s}
        for block, (negative, positive, s) in enumerate(zip(NEGATIVE, POSITIVE, DEVIATION, strict=True))
    ]
    return replace(vector, passport=vector.passport | {"blocks": blocks} | changes)


def strengths(model: Identity = MODEL, **arguments: Any) -> list[dict[int, float]]:
    plan = SteeringPlan.build(**({"vectors": measured()} | arguments))
    child = plan.fit(3, 32, model)
    return [{edit.block: edit.strength for edit in one.edits} for one in plan.interventions(3, child)]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"unit": "length", "alpha": 2}, {0: 2, 1: 2, 2: 2}),
        ({"unit": "sigma", "alpha": 0.5}, {0: 2, 1: 1.5, 2: 0.0625}),
        ({"unit": "projection", "alpha": -2}, {0: -4, 1: -12, 2: 0.5}),
        ({"unit": "sigma", "alpha": 1, "operator": "add_keep_norm", "layers": 1}, {1: 3}),
        # Set to a value: 0 and 1 are the means of both sides, or 0 lies midway between them.
        ({"unit": "projection", "alpha": 0, "operator": "set"}, {0: -1, 1: 2, 2: 0.5}),
        ({"unit": "projection", "alpha": 1, "operator": "set"}, {0: 1, 1: 8, 2: 0.25}),
        ({"unit": "sigma", "alpha": -1, "operator": "set_at_most"}, {0: -4, 1: 2, 2: 0.25}),
        ({"unit": "sigma", "alpha": 1, "alpha_per_layer": [1, 0.5, 0]}, {0: 4, 1: 1.5}),
        ({"unit": "sigma", "alpha": 1, "layer_map": "[0:2,1:0]"}, {0: 0.125, 1: 4}),
        ({"unit": "sigma", "alpha": 1, "control": "random:2", "layers": 0}, {0: 4}),
    ],
)
def test_a_strength_by_block(given: dict[str, Any], expected: dict[int, float]) -> None:
    assert strengths(**given) == [expected]


def test_an_intervention_knows_lengths_alone() -> None:
    """So that what does the same is the same, however it was spelt."""
    vector = measured()
    spelt = [
        {"alpha": 0.5, "unit": "sigma", "layers": 0},
        {"alpha": 2, "layers": 0},
        {"alpha": 1, "unit": "projection", "layers": 0},
    ]
    plans = [SteeringPlan.build(vectors=vector, **given) for given in spelt]
    assert len({plan.interventions(3, plan.fit(3, 32, MODEL))[0].fingerprint for plan in plans}) == 1
    assert [plan.settings()["alpha_unit"] for plan in plans] == ["sigma", "length", "projection"]


@pytest.mark.parametrize(
    ("given", "model", "sentence"),
    [
        (
            {"vectors": make_vector()},
            MODEL,
            "unit=sigma needs projection_negative of block 0, which the vector file does not have: extract the vector "
            "again, which measures it, or leave it out",
        ),
        (
            {"vectors": make_transferred(), "allow_other_child": True},
            Identity("child"),
            "unit=sigma counts in what was measured where a vector was read, and this one was transferred to child: "
            "leave it out, or extract a vector from that model",
        ),
        (
            {},
            Identity("org/other"),
            "unit=sigma counts in what was measured in random-0 (3 blocks of width 32), and this model is org/other (3 "
            "blocks of width 32): leave it out, or extract a vector from this model",
        ),
        (
            {"operator": "slerp"},
            MODEL,
            "unit=sigma is of a length, and the strength of operator=slerp is a share, 1 for all of it: leave unit out",
        ),
        (
            {"dose": 0.1, "alpha": None},
            MODEL,
            "dose=0.1 is a share of ‖h‖, and unit=sigma is of alpha: give one of them",
        ),
    ],
)
def test_what_was_not_measured(given: dict[str, Any], model: Identity, sentence: str) -> None:
    with pytest.raises(SteeringError) as caught:
        strengths(model, **({"alpha": 1, "unit": "sigma"} | given))
    assert str(caught.value) == sentence
