"""The list of the plan's arguments: each is declared once, and all that follows from the list has it."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from torch import Tensor

import models
from conftest import ROOT, make_vector
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.argument import table
from lm_eval_steer.interventions.arguments import APART, ARGUMENT_NAMES, ARGUMENTS, OPTIONS
from lm_eval_steer.interventions.controls import Control
from lm_eval_steer.interventions.operators import OPERATORS, Operator
from lm_eval_steer.interventions.plan import SteeringPlan


def test_the_table_of_the_docs_is_that_of_the_list() -> None:
    """`python -m lm_eval_steer.interventions.arguments` prints it."""
    page = (ROOT / "docs" / "ARGUMENTS.md").read_text(encoding="utf-8")
    shown = page.partition("<!-- arguments: one row per argument of the plan -->\n")[2]
    assert shown.partition("<!-- end of arguments -->")[0] == table(ARGUMENTS)


def test_signature_and_docstring_of_build() -> None:
    parameters = inspect.signature(SteeringPlan.build).parameters
    assert tuple(parameters) == ARGUMENT_NAMES
    assert {name: one.default for name, one in parameters.items()} == {one.name: one.default for one in ARGUMENTS}
    assert {one.kind for one in parameters.values()} == {inspect.Parameter.KEYWORD_ONLY}
    words = " ".join(str(inspect.getdoc(SteeringPlan.build)).split())
    for one in ARGUMENTS:
        assert f"{one.name}: {one.help}" in words
    with pytest.raises(TypeError, match="there is no steering argument strength: use vectors, alpha, dose"):
        SteeringPlan.build(alpha=0, strength=1)


def test_what_a_plan_of_defaults_records_is_what_the_leaderboard_leaves_unsaid() -> None:
    settings = SteeringPlan.build(alpha=1, vectors=make_vector()).settings()
    assert {key: settings[key] for key in APART} == APART
    assert set(APART) == {
        *("unit", "alpha_unit", "alpha_per_layer", "layers", "tokens", "operator", "second", "site"),
        *("layer_map", "width_map", "blocks"),
    }
    assert set(OPTIONS) == {"alpha", "dose", "control", "record", "seed"}


ADDED = """
import inspect, json, sys, types
from importlib.util import find_spec

name = "lm_eval_steer.interventions.arguments"
place = find_spec(name).origin
more = "changes='response', read=checks.switch, apart=True, shared=True, option='--echo'"
one = f"    echo: bool = argument(False, 'say it twice', {more})"
source = open(place, encoding="utf-8").read().replace("    seed: int =", one + "\\n    seed: int =")
arguments = sys.modules[name] = types.ModuleType(name)
exec(compile(source, place, "exec"), arguments.__dict__)

from lm_eval_steer.axis.ballots import refuse_unlike
from lm_eval_steer.compare import conditions, joins
from lm_eval_steer.interventions.argument import table
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.operators import OPERATORS, Operator
from lm_eval_steer.interventions.plan import SteeringPlan
from lm_eval_steer.models.arms import take_plan
from lm_eval_steer.sweep.args import SweepArgs

given = {"alpha": 0, "echo": True, "dtype": "float32"}
plan = take_plan(given)
said = []
for made in (
    lambda: SteeringPlan.build(alpha=0, echo="loud"),
    lambda: refuse_unlike([plan, SteeringPlan.build(alpha=1, vectors="smollm2_arith", record=None)]),
    lambda: SweepArgs("steered-hf", {"echo": True}, ["a"], "x", alpha=1),
):
    try:
        made()
    except SteeringError as error:
        said.append(str(error))
print(json.dumps({
    "signature": str(inspect.signature(SteeringPlan.build)),
    "docstring": "echo: say it twice" in SteeringPlan.build.__doc__,
    "plan": plan.echo,
    "left": given,
    "settings": plan.settings()["echo"],
    "readme": "| `echo` | `False` | say it twice |" in table(arguments.ARGUMENTS),
    "said": said,
    "condition": "echo" in conditions._NO_CONDITION,
    "apart": joins.APART["echo"],
}))
"""


def test_an_argument_that_is_added_to_the_list_arrives_everywhere() -> None:
    done = subprocess.run([sys.executable, "-c", ADDED], capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    assert found.pop("signature").endswith(", echo=False, seed=0)")
    assert found == {
        "docstring": True,
        "plan": True,
        "left": {"dtype": "float32"},
        "settings": True,
        "readme": True,
        "said": [
            "echo='loud' is not understood: use True or False",
            "arms of one pass share requests and record, and two of them have echo=True and echo=False: give them one, "
            "or run them one after the other",
            "echo=True is in --model_args: leave it out there, a sweep has --echo",
        ],
        "condition": True,
        "apart": False,
    }


@pytest.mark.parametrize(
    ("given", "operator"),
    [
        ({}, "add"),
        ({"normalize": False}, "add"),
        ({"normalize": True}, "add_keep_norm"),
        ({"operator": "add"}, "add"),
        ({"operator": "add_keep_norm"}, "add_keep_norm"),
        ({"operator": "add_keep_norm", "normalize": True}, "add_keep_norm"),
    ],
)
def test_normalize_is_a_spelling_of_an_operator(given: dict[str, Any], operator: str) -> None:
    plan = SteeringPlan.build(alpha=0, **given)
    assert (plan.operator, plan.normalize) == (operator, operator == "add_keep_norm")


@pytest.mark.parametrize(("operator", "normalize"), [("add", True), ("add_keep_norm", False)])
def test_an_operator_and_a_spelling_that_contradict_each_other(operator: str, normalize: bool) -> None:
    with pytest.raises(SteeringError) as caught:
        SteeringPlan.build(alpha=0, operator=operator, normalize=normalize)
    assert str(caught.value) == f"normalize={normalize} and operator={operator} contradict each other: give one of them"


def set_to(hidden: Tensor, strength: Tensor, direction: Tensor) -> Tensor:
    """h' = α·v, whatever h is."""
    return strength * direction


def test_an_operator_that_is_added_is_named_as_ours_and_may_act_at_strength_0() -> None:
    OPERATORS.add("replace", Operator(set_to, acts=lambda strength: True, is_shift=False))
    try:
        plan = SteeringPlan.build(vectors=make_vector(), alpha=0, operator="replace")
        assert plan.steers
        (found,) = plan.interventions(models.DEPTH, plan.fit(models.DEPTH, models.WIDTH))
        assert [(edit.block, edit.operator, edit.strength) for edit in found.edits] == [
            (block, "replace", 0.0) for block in range(models.DEPTH)
        ]
        for control in ("identity", "self-consistency"):
            plan = SteeringPlan.build(vectors=make_vector(), alpha=0, operator="replace", control=control)
            assert not plan.steers
            assert not any(one.acts for one in plan.interventions(3, plan.fit(3, models.WIDTH)))
        with pytest.raises(SteeringError, match="needs vectors"):
            SteeringPlan.build(alpha=0, operator="replace")
    finally:
        OPERATORS.remove("replace")


def test_operators_are_names_of_their_table() -> None:
    with pytest.raises(SteeringError) as caught:
        SteeringPlan.build(alpha=0, operator="other")
    assert str(caught.value) == "operator='other' is not understood: use one of " + ", ".join(OPERATORS)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (
            {"dose": 0.1, "operator": "ablate"},
            "dose=0.1 is a length, and the strength of operator=ablate is a share, 1 for all of it: give it as alpha",
        ),
        (
            {"dose": "[0.1,0.2]", "operator": "turn"},
            "dose='[0.1,0.2]' is a length, and the strength of operator=turn is an angle in degrees: give it as alpha",
        ),
        (
            {"alpha": 1, "operator": "ablate", "control": "negated"},
            "control=negated turns the directions round, and operator=ablate does the same along both: use another "
            "control",
        ),
    ],
)
def test_what_has_no_meaning_for_an_operator(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SteeringError) as caught:
        SteeringPlan.build(vectors=make_vector(), **given)
    assert str(caught.value) == sentence
    signed = given | {"operator": "set"}  # a length, and another one along the opposite direction
    assert SteeringPlan.build(vectors=make_vector(), **signed).steers


def test_a_baseline_is_plain_under_an_operator_that_acts_at_strength_0() -> None:
    plan = SteeringPlan.build(vectors=make_vector(), alpha=[0, 1], operator="set")
    child = plan.fit(models.DEPTH, models.WIDTH)
    assert [one.acts for one in plan.interventions(models.DEPTH, child)] == [True, True]
    beside = plan.with_changes(zero_is_plain=True)
    assert [one.acts for one in beside.interventions(models.DEPTH, child)] == [False, True]
    assert beside.steers
    assert not plan.unsteered().steers
    assert not plan.with_changes(alphas=(0.0,), zero_is_plain=True).steers


def test_a_second_vector_gives_the_other_direction_of_each_block() -> None:
    one, other = make_vector(), make_vector(seed=1)
    plan = SteeringPlan.build(vectors=one, second=other, alpha=30, operator="rotate", layers="1-2")
    (found,) = plan.interventions(models.DEPTH, plan.fit(models.DEPTH, models.WIDTH))
    assert [(edit.block, edit.operator, edit.strength) for edit in found.edits] == [
        (1, "rotate", 30),
        (2, "rotate", 30),
    ]
    for edit in found.edits:
        assert np.array_equal(edit.direction, [one.directions[edit.block], other.directions[edit.block]])
    control = plan.with_changes(control=Control("random", 1))
    (drawn,) = control.interventions(models.DEPTH, control.fit(models.DEPTH, models.WIDTH))
    assert np.array_equal(drawn.edits[0].direction[1], other.directions[1])
    assert not np.array_equal(drawn.edits[0].direction[0], one.directions[1])
    assert plan.settings()["second"] == other.fingerprint[:12]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (
            {"operator": "rotate"},
            "operator=rotate takes two directions: name a second vector, as in second=other.safetensors",
        ),
        (
            {"second": make_vector(seed=1)},
            "operator=add takes one direction, and second= names another: leave second out",
        ),
        (
            {"operator": "swap", "second": make_vector()},
            "the directions of vectors and second are parallel in block 0, and operator=swap takes two that differ: "
            "name another vector as second",
        ),
        (
            {"operator": "swap", "second": make_vector(blocks=2, seed=1)},
            "second has no direction for block 2, which is steered: leave it out with layers=, or name another vector "
            "as second",
        ),
    ],
)
def test_second_vectors_that_cannot_be(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SteeringError) as caught:
        SteeringPlan.build(vectors=make_vector(), alpha=1, **given).fit(models.DEPTH, models.WIDTH)
    assert str(caught.value) == sentence
