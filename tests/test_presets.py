"""Presets and other names that stand for arguments: what they are written out to, and that it is one fingerprint."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import models
from conftest import ROOT, make_transferred, make_vector
from lm_eval_steer.engines.hf.hooks import Steerer
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.plan import SteeringPlan
from lm_eval_steer.interventions.presets import PRESETS, expanded, table
from lm_eval_steer.vectors.identity import Identity
from lm_eval_steer.vectors.vector import SteeringVector

MODEL = Identity("org/random-0")
BESIDE: dict[str, dict[str, Any]] = {
    "caa": {"layers": 1},
    "actadd": {"layers": 2},
    "arditi": {"layer_map": "only:1"},
    "unlock": {"alpha": 0.2},
    "angular": {"layer_map": "only:1", "alpha": 40},
}


def measured(seed: int = 0) -> SteeringVector:
    vector = make_vector(seed=seed)
    blocks = [
        {"block": block, "projection_negative": -1.0, "projection_positive": 2.0, "projection_deviation": 0.5}
        for block in range(3)
    ]
    return replace(vector, passport=vector.passport | {"blocks": blocks})


def fingerprints(**arguments: Any) -> list[str]:
    plan = SteeringPlan.build(**({"vectors": measured()} | arguments))
    return [one.fingerprint for one in plan.interventions(3, plan.fit(3, 32, MODEL))]


@pytest.mark.parametrize("name", [name for name in PRESETS if name != "iti"])
def test_a_preset_and_what_it_stands_for_are_one_fingerprint(name: str) -> None:
    beside = BESIDE.get(name, {}) | ({"second": make_vector(seed=1)} if name == "angular" else {})
    vector = measured()
    if name == "actadd":  # counts in what was measured where it steers
        vector = replace(vector, passport=vector.passport | {"site": "block_input"})
        beside |= {"vectors": vector}
    preset = PRESETS[name]
    written = dict(preset.arguments) | ({} if preset.strength is None else {preset.counts: preset.strength}) | beside
    if preset.counts == "dose" and "alpha" in beside:
        written["dose"] = written.pop("alpha")
    assert fingerprints(preset=name, **beside) == fingerprints(**written)
    plans = [SteeringPlan.build(**({"vectors": vector} | given)) for given in ({"preset": name} | beside, written)]
    assert plans[0].settings() == plans[1].settings()
    assert "preset" not in plans[0].settings()


def test_iti_counts_in_deviations_of_each_head() -> None:
    drawn = np.random.default_rng(0).normal(size=(3, 4, 8))
    directions = (drawn / np.linalg.norm(drawn, axis=-1, keepdims=True)).astype(np.float32)
    said = {"projection_negative": [0.0] * 4, "projection_positive": [1.0] * 4, "projection_deviation": [1.0, 2, 3, 4]}
    blocks = [{"block": block} | said for block in range(3)]
    vector = SteeringVector(directions, (0, 1, 2), make_vector().passport | {"site": "heads", "blocks": blocks})
    written = {"operator": "add", "unit": "sigma", "site": "heads", "tokens": "generated", "alpha": 15}
    assert fingerprints(vectors=vector, preset="iti") == fingerprints(vectors=vector, **written)
    plan = SteeringPlan.build(vectors=vector, preset="iti", layers=1)
    ((edit,),) = (one.edits for one in plan.interventions(3, plan.fit(3, 32, MODEL)))
    shifts = edit.strength * np.linalg.norm(edit.direction, axis=-1)
    assert shifts == pytest.approx([15, 30, 45, 60], rel=1e-5)


def test_whatever_is_named_beside_a_preset_overrules() -> None:
    assert expanded({"preset": "unlock", "alpha": 0.1, "tokens": "all"}) == {
        "operator": "add_keep_norm",
        "tokens": "all",
        "dose": 0.1,
    }
    assert expanded({"preset": "icv", "dose": 0.1, "site": "block"})["site"] == "block"
    assert expanded({"preset": "icv", "normalize": True}) == {
        "site": "mlp",
        "tokens": "all",
        "dose": 0.8,
        "normalize": True,
    }
    caa = {"operator": "add", "tokens": "after:1"}
    assert expanded({"preset": "caa", "dose": 0.1}) == caa | {"dose": 0.1}
    assert expanded({"preset": "caa", "unit": "length", "alpha": -2}) == caa | {"unit": "length", "alpha": -2}
    assert expanded({"preset": "caa", "alpha_per_layer": "linear:0:1"}) == caa | {
        "unit": "projection",
        "alpha_per_layer": "linear:0:1",
    }
    given = {"pretrained": "x", "alpha": 1}
    assert expanded(given) == given


def test_ace_lies_between_two_measured_means() -> None:
    assert fingerprints(operator="ace", alpha=0.25) == fingerprints(operator="set", unit="projection", alpha=0.25)
    plan = SteeringPlan.build(vectors=measured(), operator="ace", alpha=0.25)
    (one,) = plan.interventions(3, plan.fit(3, 32, MODEL))
    assert {edit.strength for edit in one.edits} == {-1 + 0.25 * 3}
    assert plan.settings()["operator"] == "set"
    assert fingerprints(operator="ace", alpha=0) != fingerprints(alpha=0)  # the negative mean is a value, too


def test_one_direction_serves_all_blocks() -> None:
    vector = make_vector(blocks=5)
    plan = SteeringPlan.build(vectors=vector, alpha=1, layer_map=" only:04")
    child = plan.fit(3, 32)
    assert plan.layer_map == "only:4"
    assert child is not None
    assert child.sources == {0: 4, 1: 4, 2: 4}
    assert all(np.array_equal(one, vector.directions[4]) for one in child.directions.values())


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (
            {"preset": "cca"},
            "preset='cca' is not understood: use one of caa, actadd, arditi, iti, icv, unlock, angular",
        ),
        ({"preset": 1}, "preset=1 is not understood"),
        (
            {"preset": "unlock"},
            "preset=unlock has no strength of its own (0.05, 0.1, 0.2 and 0.5): name one, as in dose=0.1",
        ),
        ({"preset": "caa"}, "preset=caa lacks layers: it steers one block: name it, as in layers=13"),
        ({"preset": "arditi"}, "preset=arditi lacks layer_map: it takes one direction for all blocks"),
        ({"preset": "angular", "alpha": 30}, "operator=rotate_to takes two directions: name a second vector"),
        ({"operator": "ace", "unit": "sigma", "alpha": 1}, "unit='sigma' has no meaning for operator=ace"),
        ({"operator": "ace", "dose": 1}, "dose=1 is a share of ‖h‖, and unit=projection is of alpha: give one of them"),
        (
            {"operator": "ace", "alpha": 1},
            "operator=ace needs projection_negative of block 0, which the vector file does",
        ),
        ({"preset": "caa", "layers": 1}, "unit=projection needs projection_negative of block 0"),
        (
            {"layer_map": "only:7", "alpha": 1},
            "layer_map=only:7 takes the directions of the parent's block 7, and the vector has those of 0-2 only",
        ),
    ],
)
def test_what_lacks_is_said_in_a_sentence(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SteeringError, match="^" + re.escape(sentence)):
        SteeringPlan.build(vectors=make_vector(), **given).fit(3, 32, MODEL)


def test_a_file_may_say_what_a_preset_asks_for() -> None:
    one = measured()
    single = SteeringVector(one.directions[1:2], (1,), one.passport | {"blocks": one.passport["blocks"][1:2]})
    assert SteeringPlan.build(vectors=single, preset="caa").operator == "add"
    plan = SteeringPlan.build(vectors=make_transferred(), preset="arditi", allow_other_child=True)
    assert plan.operator == "ablate"


def test_the_table_of_the_docs_is_that_of_the_presets() -> None:
    page = (ROOT / "docs" / "METHOD.md").read_text(encoding="utf-8")
    assert page.partition("<!-- presets -->\n")[2].partition("<!-- end of presets -->")[0] == table()


def test_arditi_equals_weights_that_write_nothing_along_the_direction() -> None:
    """In blocks whose MLP reads what attention wrote, where ablating the outputs of blocks alone is not enough."""
    vector = make_vector()
    v = torch.from_numpy(vector.directions[1])
    ours, theirs = (models.make_model("llama") for _ in range(2))
    for name, parameter in theirs.named_parameters():
        if name.endswith("embed_tokens.weight"):
            parameter.data -= torch.outer(parameter.data @ v, v)
        elif name.endswith(("o_proj.weight", "down_proj.weight")):
            parameter.data -= torch.outer(v, v @ parameter.data)
    ids, mask = torch.tensor([[65, 66, 67, 68, 69]]), torch.ones(1, 5, dtype=torch.bool)
    found = {}
    for site in ("block_input+attention+mlp", "block"):
        plan = SteeringPlan.build(vectors=vector, preset="arditi", layer_map="only:1", site=site)
        with Steerer(ours, plan.interventions(3, plan.fit(3, 32))).scoring([0], mask), torch.no_grad():
            found[site] = ours(ids).logits
    with torch.no_grad():
        wanted = theirs(ids).logits
    assert torch.allclose(found["block_input+attention+mlp"], wanted, atol=5e-4)
    assert not torch.allclose(found["block"], wanted, atol=0.05)
