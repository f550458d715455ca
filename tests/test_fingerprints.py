"""What a plan does to a child, by hand; plans that mean the same have one fingerprint, those that do not have two."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lm_eval.api.model import CacheHook, CachingLM

import models
from conftest import make_vector
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.intervention import NOTHING, Edit, Intervention, intervene
from lm_eval_steer.interventions.plan import SteeringPlan
from lm_eval_steer.models.hf import SteeredHF
from lm_eval_steer.vectors.vector import SteeringVector

VECTOR = SteeringVector(
    np.array([[0.6, 0.8, 0.0], [0.0, 0.6, 0.8]], dtype=np.float32),
    (0, 1),
    {"parent": {"name": "p", "hidden_size": 3, "num_blocks": 2}},
)


def by_hand(*strengths: float, **more: Any) -> Intervention:
    """Strengths of the blocks of `VECTOR`."""
    operator = more.pop("operator", "add")
    turned = more.pop("turned", 1.0)
    edits = [Edit(block, operator, turned * VECTOR.directions[block], one) for block, one in enumerate(strengths)]
    return intervene(edits, **more)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"alpha": 0.5}, [by_hand(0.5, 0.5)]),
        ({"alpha": [1, -0.1, 0.1]}, [by_hand(0.1, 0.1), by_hand(-0.1, -0.1), by_hand(1, 1)]),
        ({"alpha": [0, 2], "alpha_per_layer": "linear:0:1"}, [NOTHING, by_hand(0, 2)]),
        ({"alpha": 2, "alpha_per_layer": [0.5, -0.25]}, [by_hand(1, -0.5)]),
        ({"dose": 0.25, "tokens": "last"}, [by_hand(0.25, 0.25, unit="dose", tokens="last")]),
        ({"alpha": 1, "operator": "add_keep_norm"}, [by_hand(1, 1, operator="add_keep_norm")]),
        ({"alpha": 1, "layers": 1, "tokens": "generated"}, [by_hand(0, 1, tokens="generated")]),
        ({"alpha": [1, 2], "control": "negated"}, [by_hand(1, 1, turned=-1.0), by_hand(2, 2, turned=-1.0)]),
        ({"alpha": [1, 2], "control": "identity"}, [intervene(regrouped=True)]),
        (
            {"alpha": [0.5, 1, 2], "control": "self-consistency"},
            [intervene(sample=number, temperature=0.7) for number in range(3)],
        ),
        ({"alpha": 0, "tokens": "prompt", "normalize": True}, [NOTHING]),
    ],
)
def test_interventions_of_a_plan(given: dict[str, Any], wanted: list[Intervention]) -> None:
    """Of a child of the parent's shape, in the order of the vote."""
    plan = SteeringPlan.build(vectors=VECTOR, **given)
    found = plan.interventions(2, plan.fit(2, 3))
    assert [one.content() for one in found] == [one.content() for one in wanted]
    assert len(found) == len(plan.variants)
    for one in found:
        assert all(edit.strength == np.float32(edit.strength) for edit in one.edits)


def test_each_profile_is_a_variant_at_each_strength() -> None:
    plan = SteeringPlan.build(vectors=VECTOR, alpha=[1, 2]).with_changes(profiles=((1.0, 0.0), (0.5, -1.0)))
    found = plan.interventions(2, plan.fit(2, 3))
    assert found == (by_hand(1, 0), by_hand(2, 0), by_hand(0.5, -1), by_hand(1, -2))


def interventions(**changes: Any) -> tuple[Intervention, ...]:
    """Of a plan on the tiny child."""
    plan = SteeringPlan.build(**({"vectors": make_vector(), "alpha": 0.5} | changes))
    return plan.interventions(models.DEPTH, plan.fit(models.DEPTH, models.WIDTH))


EVERY = list(range(models.DEPTH))
ONES = [1] * models.DEPTH

# Pairs of plans that mean the same, as far as one response goes.
SAME: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {"layers": EVERY}),
    ({}, {"layers": f"0-{models.DEPTH - 1}"}),
    ({"layers": 1}, {"layers": "1"}),
    ({"layers": [2, 1]}, {"layers": "1-2"}),
    ({}, {"alpha_per_layer": "linear:1:1"}),
    ({}, {"alpha_per_layer": ONES}),
    ({"alpha": 1}, {"alpha": None, "alpha_per_layer": ONES}),
    ({"alpha": 1}, {"alpha": 0.5, "alpha_per_layer": [2] * models.DEPTH}),
    ({"layers": 1}, {"alpha_per_layer": [0, 1, *[0] * (models.DEPTH - 2)]}),
    *(({"alpha": 1}, {"alpha": one}) for one in ("1", [1], 1.0, "1.0", [1.0], "1:1:1")),
    ({"alpha": 0}, {"alpha": -0.0}),
    ({"alpha": 0}, {"alpha": "-0", "tokens": "last", "operator": "add_keep_norm"}),
    ({"alpha": 0}, {"alpha": None, "dose": 0}),
    ({"alpha": 0}, {"alpha": 0, "vectors": None}),
    ({}, {"seed": 3}),
    ({}, {"control": None}),
    ({}, {"control": "none"}),
    ({"control": "random"}, {"control": "random:1"}),
    ({"control": "identity"}, {"control": "identity", "alpha": [1, 2]}),
    ({"normalize": True}, {"operator": "add_keep_norm"}),
    ({}, {"width_map": "cut-raw"}),
    ({}, {"layer_map": "greedy"}),
    ({}, {"allow_leak": True}),
    ({}, {"record": "elsewhere"}),
    ({}, {"system_role": "drop"}),
    ({}, {"vote": "weighted", "vote_metric": "acc_norm", "vote_early_stop": True}),
]
DIFFERENT: list[dict[str, Any]] = [
    {},
    {"alpha": 0},
    {"alpha": 0.25},
    {"alpha": -0.5},
    {"alpha": None, "dose": 0.5},
    {"layers": "1"},
    {"layers": "1-2"},
    *({"tokens": one} for one in ("prompt", "generated", "last")),
    {"operator": "add_keep_norm"},
    {"alpha_per_layer": "linear:0:1"},
    *({"control": one} for one in ("random:1", "random:2", "shuffled", "negated", "identity", "self-consistency")),
    {"vectors": make_vector(seed=1)},
    {"vectors": make_vector(width=models.WIDTH + 8), "width_map": "cut"},
    {"vectors": make_vector(width=models.WIDTH + 8), "width_map": "cut-raw"},
]


@pytest.mark.parametrize(("one", "other"), SAME, ids=str)
def test_plans_that_mean_the_same_are_one_intervention(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert interventions(**one) == interventions(**other)
    assert hash(interventions(**one)) == hash(interventions(**other))


def test_plans_that_differ_are_different_interventions() -> None:
    found = [interventions(**changes)[0].fingerprint for changes in DIFFERENT]
    assert len(set(found)) == len(found)


def test_zeros_have_no_sign() -> None:
    v = np.array([0.6, 0.0, 0.8], dtype=np.float32)
    assert intervene([Edit(0, "add", v, 0.5)]) == intervene([Edit(0, "add", v * [1, -1, 1], 0.5)])
    assert Edit(0, "add", v, -0.0).strength == 0.0
    assert str(Edit(0, "add", v, -0.0).strength) == "0.0"


def test_a_strength_is_the_float32_that_engines_have() -> None:
    v = np.array([0.6, 0.0, 0.8], dtype=np.float32)
    assert intervene([Edit(0, "add", v, 0.1)]) == intervene([Edit(0, "add", v, float(np.float32(0.1)))])


@pytest.fixture(scope="module")
def lm() -> SteeredHF:
    return SteeredHF(pretrained=models.make_model("llama"), tokenizer=models.make_tokenizer(), batch_size=1, alpha=0)


def of_result(lm: SteeredHF, **changes: Any) -> str:
    """`fingerprint` in the result file of a plan on the tiny child."""
    lm.steer(SteeringPlan.build(**({"vectors": make_vector(), "alpha": 0.5} | changes)))
    return str(lm.get_model_info()["steering"]["fingerprint"])


@pytest.mark.parametrize(("one", "other"), SAME, ids=str)
def test_plans_that_mean_the_same_have_one_fingerprint_in_result_files(
    lm: SteeredHF, one: dict[str, Any], other: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert of_result(lm, **one) == of_result(lm, **other)


SET = {"alpha": [0.5, 1]}
DRAWN = {"alpha": [0.5, 1], "control": "self-consistency"}


def test_plans_that_differ_have_different_fingerprints_in_result_files(
    lm: SteeredHF, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How a set votes matters there, too, and the seed of a control that draws."""
    monkeypatch.chdir(tmp_path)
    voted = [
        {},
        {"vote": "weighted"},
        {"vote_filter": "strict"},
        {"vote_answer": "operator:not_"},
        {"vote_metric": "acc_norm"},
    ]
    different = [*DIFFERENT, *(SET | more for more in voted), DRAWN, DRAWN | {"seed": 3}, {"alpha": [0.5, 1, 2]}]
    found = [of_result(lm, **changes) for changes in different]
    assert len(set(found)) == len(found)
    assert of_result(lm, **SET, vote_early_stop=True) == of_result(lm, **SET, record="elsewhere", seed=3)


def test_the_harness_s_response_cache_is_kept_apart_by_seeds_too(lm: SteeredHF, tmp_path: Path) -> None:
    """It names responses by their requests, and a task may ask for text that is drawn."""

    def hear(**changes: Any) -> None:
        of_result(lm, **changes)
        lm.set_cache_hook(CacheHook(CachingLM(lm, str(tmp_path / "cache.db"))))

    before = lm.cache_hook
    try:
        hear(layers="all")
        hear(layers=EVERY)
        for changes in ({"seed": 3}, {"alpha": 1}):
            with pytest.raises(SteeringError, match="holds the responses of another steering or another model"):
                hear(**changes)
    finally:
        lm.cache_hook = before
