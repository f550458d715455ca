"""A vector that was transferred to a child: what that child does with it, and which other model is refused."""

from __future__ import annotations

import copy
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import lm_eval_steer
import models
import sweeps
from conftest import make_transferred, make_vector
from lm_eval_steer.engines.reference import Reference
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.plan import SteeringPlan
from lm_eval_steer.models.hf import SteeredHF
from lm_eval_steer.models.leaks import extraction_rows
from lm_eval_steer.vectors.identity import UNKNOWN, Identity
from lm_eval_steer.vectors.vector import SteeringVector
from steerings import steering
from test_hf import CONTEXTS, generations, scorings

SHAPE = f"{models.DEPTH} blocks of width {models.WIDTH}"


@pytest.fixture(scope="module")
def lm(tiny_folder: Path) -> SteeredHF:
    return SteeredHF(str(tiny_folder), device="cpu", batch_size=4, alpha=0)


def vector_for(lm: SteeredHF, **said: Any) -> SteeringVector:
    """A vector that was transferred to this model, whose passport says something else of it."""
    known = lm.model_identity
    child = {"name": Path(known.name).name, "revision": "main", "architecture": "llama", "digest": known.digest}
    return make_transferred(child=child | said)


def refusal(lm: SteeredHF, vector: SteeringVector, **arguments: Any) -> str:
    before = lm.plan
    with pytest.raises(SteeringError) as caught:
        lm.steer(SteeringPlan.build(vectors=vector, alpha=1.5, **arguments))
    assert lm.plan is before
    return str(caught.value)


def test_a_mapped_file_steers_its_child_as_the_oracle_does(lm: SteeredHF, tmp_path: Path) -> None:
    path = vector_for(lm).save(tmp_path / "mapped.safetensors")
    lm.steer(SteeringPlan.build(vectors=path, alpha=1.5))
    oracle = Reference(lm.model, steering(vector_for(lm).directions, 1.5))
    texts = lm.generate_until(generations())
    for context, text in zip(CONTEXTS, texts, strict=True):
        expected = oracle.generate(lm.tok_encode(context), 12, [lm.eot_token_id])
        assert lm.tok_decode(expected.tokens).split("\n\n")[0] == text
    for request, (score, _) in zip(scorings(), lm.loglikelihood(scorings()), strict=True):
        context, continuation = map(lm.tok_encode, request.args)
        assert score == pytest.approx(oracle.score(context, continuation)[0], abs=1e-3)
    told = lm.get_model_info()["steering"]
    assert told["transfer"] == {
        "parent": "org/parent-0",
        "parent_blocks": 5,
        "parent_hidden_size": 6,
        "child_blocks": models.DEPTH,
        "child_hidden_size": models.WIDTH,
        "layer_map": "proportional",
        "width_map": "ridge:0.05",
        "steered_blocks": [0, 1, 2],
        "transferred": True,
    }
    assert (told["allow_other_child"], told["vector"]) == (False, vector_for(lm).fingerprint)
    assert told["passport"] == vector_for(lm).passport


def test_it_does_what_the_same_directions_of_the_child_itself_do(lm: SteeredHF) -> None:
    answers = []
    for vector in (vector_for(lm), make_vector()):
        lm.steer(SteeringPlan.build(vectors=vector, alpha=1.5))
        answers.append((lm.generate_until(generations()), lm.loglikelihood(scorings()), lm.steering_fingerprint))
    assert answers[0] == answers[1]


def test_other_weights_of_the_same_name_are_another_model(lm: SteeredHF) -> None:
    other = vector_for(lm, digest="0123456789abcdef")
    name, digest = Path(lm.model_identity.name).name, lm.model_identity.digest
    assert refusal(lm, other) == (
        f"the vector was transferred to {name} (llama, {SHAPE}, revision main, weights 01234567), and this model is "
        f"{lm.model_identity.name} (llama, {SHAPE}, weights {digest[:8]}): transfer it to this model with "
        "lm-eval-steer transfer, or set allow_other_child=True (the result file says so)"
    )


def test_another_model_may_be_allowed_and_is_recorded(lm: SteeredHF, caplog: pytest.LogCaptureFixture) -> None:
    other = vector_for(lm, name="org/elsewhere", digest=None)
    assert refusal(lm, other).startswith(f"the vector was transferred to org/elsewhere (llama, {SHAPE}, revision main)")
    with caplog.at_level(logging.WARNING, logger="lm_eval"):
        lm.steer(SteeringPlan.build(vectors=other, alpha=1.5, allow_other_child=True))
    assert "taken as it stands, since allow_other_child=True" in caplog.text
    assert lm.get_model_info()["steering"]["allow_other_child"] is True
    allowed = lm.generate_until(generations())
    lm.steer(SteeringPlan.build(vectors=vector_for(lm), alpha=1.5))
    assert allowed == lm.generate_until(generations())


@pytest.mark.parametrize(
    ("shape", "told"),
    [
        ({"blocks": 4}, f"(4 blocks of width {models.WIDTH})"),
        ({"width": 16}, f"({models.DEPTH} blocks of width 16)"),
        ({"child": {"architecture": "qwen2"}}, f"(qwen2, {SHAPE})"),
    ],
)
@pytest.mark.parametrize("allow", [False, True])
def test_a_model_of_another_kind_is_refused_in_any_case(
    lm: SteeredHF, shape: dict[str, Any], told: str, allow: bool
) -> None:
    sentence = refusal(lm, make_transferred(**shape), allow_other_child=allow)
    assert sentence.startswith(
        f"the vector was transferred to child {told}, and this model is {lm.model_identity.name}"
    )
    assert sentence.endswith(": transfer it to this model with lm-eval-steer transfer")


def test_who_does_not_say_which_model_it_is_gets_no_transferred_vector() -> None:
    plan = SteeringPlan.build(vectors=make_transferred(), alpha=1)
    with pytest.raises(SteeringError, match="and this model is a model without a name"):
        plan.fit(models.DEPTH, models.WIDTH)
    assert plan.fit(models.DEPTH, models.WIDTH, Identity("folder/child")) is not None


def test_steer_knows_the_model_by_its_configuration(tiny_folder: Path, lm: SteeredHF) -> None:
    model = lm.model
    vector, ids = vector_for(lm), torch.arange(5)[None]
    with lm_eval_steer.steer(model, make_vector(), alpha=2), torch.no_grad():
        expected = model(ids).logits
    with lm_eval_steer.steer(model, vector, alpha=2), torch.no_grad():
        assert torch.equal(model(ids).logits, expected)
    unnamed = models.make_model("llama")
    with (
        pytest.raises(SteeringError, match="this model is a model without a name"),
        lm_eval_steer.steer(unnamed, vector, alpha=2),
    ):
        pass
    with lm_eval_steer.steer(unnamed, vector, alpha=2, allow_other_child=True) as one:
        assert one.acts


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (Identity("a/child", "main", digest="1"), Identity("b", "x", digest="1"), True),
        (Identity("child", "main", digest="1"), Identity("child", "main", digest="2"), False),
        (Identity("org/child", "main", digest="1"), Identity("/models/child", "main"), True),
        (Identity("child", "a" * 40), Identity("child", "b" * 40), False),
        (Identity("child", "a" * 40), Identity("child", "main"), True),
        (Identity("child", "a" * 40), Identity("child"), True),
        (Identity("child"), Identity("grandchild"), False),
        (Identity("child"), UNKNOWN, False),
        (UNKNOWN, UNKNOWN, False),
    ],
)
def test_models_are_told_by_digest_or_else_by_name_and_revision(one: Identity, other: Identity, same: bool) -> None:
    assert one.is_same(other) is other.is_same(one) is same


# Lengths, and rows


def test_directions_of_cut_raw_are_as_long_as_it_left_them() -> None:
    """And their lengths count for the fingerprint, since they steer otherwise."""
    cut = make_transferred(blocks=3, width=8, width_map={"name": "cut"}, texts=None)
    raw = make_transferred(blocks=3, width=8, width_map={"name": "cut-raw"}, texts=None)
    assert cut.lengths is None
    assert raw.lengths.tolist() == [0.5, 0.5, 0.5]
    child = Identity("child")
    plans = [SteeringPlan.build(vectors=vector, alpha=1).fit(3, 8, child).directions for vector in (cut, raw)]
    for block in range(3):
        assert np.array_equal(plans[1][block], plans[0][block] / 2)
        assert plans[1][block].dtype == np.float32
    assert cut.fingerprint == make_vector(3, 8).fingerprint != raw.fingerprint
    blocks = copy.deepcopy(raw.passport["transfer"]["blocks"])
    blocks[1]["length"] = 0.25
    assert make_transferred(blocks=3, width=8, width_map={"name": "cut-raw"}).fingerprint == raw.fingerprint
    assert raw.fingerprint != _with(raw, blocks).fingerprint
    blocks[1]["length"] = None
    with pytest.raises(SteeringError, match="says width_map cut-raw and length None for block 1, expected a number"):
        _with(raw, blocks)


def _with(vector: SteeringVector, blocks: list[dict[str, Any]]) -> SteeringVector:
    transfer = vector.passport["transfer"] | {"blocks": blocks}
    return SteeringVector(vector.directions, vector.layers, vector.passport | {"transfer": transfer})


def test_rows_of_pairs_of_every_parent_and_of_texts_are_seen() -> None:
    vector = make_transferred(parents=2)
    vector.passport["data"] = {"rows": ["p", "q"]}
    vector.passport["transfer"]["parents"][1]["passport"]["data"] = {"rows": ["r"]}
    assert extraction_rows(vector) == {"p", "q", "r", "a", "b"}
    without = make_transferred(texts=None)
    assert extraction_rows(without) == set()


# In a sweep


def test_a_sweep_takes_it_beside_the_own_vector_and_refuses_another_child_before_anything_is_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweeps.hurry(monkeypatch)
    child = sweeps.make_child(tmp_path)
    own = child.pop("vectors")
    files = {}
    for name in ("m", "another"):
        mapped = make_transferred(child={"name": name, "architecture": "llama"})
        files[name] = str(mapped.save(tmp_path / f"{name}.safetensors"))
    with pytest.raises(SteeringError, match=rf"was transferred to another \(llama, {SHAPE}\), and this model is .*/m "):
        sweeps.sweep(child, tmp_path / "refused", **sweeps.SMALL, arms={"own": own, "mapped": files["another"]})
    assert not list((tmp_path / "refused").rglob("results_*.json"))
    state = sweeps.sweep(child, tmp_path / "sweep", **sweeps.SMALL, arms={"own": own, "mapped": files["m"]})
    found = state["tasks"]["parity_steer"]["test"]
    for role in ("best", "vote"):  # of the same directions
        assert found[f"own {role}"]["score"] == found[f"mapped {role}"]["score"]
    allowed = child | {"allow_other_child": True}
    assert sweeps.sweep(allowed, tmp_path / "allowed", **sweeps.SMALL, arms={"own": own, "mapped": files["another"]})
