"""Sites: what is steered at each of them, against computations that have no hook there."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import models
from conftest import make_vector
from lm_eval_steer.engines.doses import report_one
from lm_eval_steer.engines.hf.hooks import Steerer
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.intervention import NOTHING, Edit, intervene
from lm_eval_steer.interventions.plan import SteeringPlan
from lm_eval_steer.sites import SITES, in_order, place_of, split, told


def test_places_have_one_name_each() -> None:
    places = [place_of(site, block) for block in (10, 2) for site in SITES]
    assert [split(place) for place in places] == [(site, block) for block in (10, 2) for site in SITES]
    assert in_order(places)[:4] == [2, 10, "attention.2", "attention.10"]
    assert [told(place) for place in (3, "mlp.3", "final_norm.0")] == ["block 3", "mlp of block 3", "final_norm"]


@pytest.mark.parametrize(
    ("site", "sites"),
    [
        (None, ("block",)),
        ("mlp", ("mlp",)),
        ("mlp+block_input+attention", ("block_input", "attention", "mlp")),
        (["mlp", "attention"], ("attention", "mlp")),
    ],
)
def test_one_site_or_several(site: Any, sites: tuple[str, ...]) -> None:
    plan = SteeringPlan.build(vectors=make_vector(), alpha=1, site=site)
    assert plan.sites == sites
    assert plan.settings()["site"] == "+".join(sites)
    child = plan.fit(3, 32)
    assert child is not None
    (one,) = plan.interventions(3, child)
    assert one.sites == sites if len(sites) == 1 else set(one.sites) == set(sites)
    assert [split(place)[1] for place in one.places] == [0, 1, 2] * len(sites)


@pytest.mark.parametrize("site", ["mpl", "", [], "block+", 3, ["block", 4]])
def test_a_site_that_there_is_not(site: Any) -> None:
    with pytest.raises(SteeringError, match="is not understood: use one of block, block_input, attention, mlp, heads"):
        SteeringPlan.build(vectors=make_vector(), alpha=1, site=site)


@pytest.mark.parametrize("site", ["heads", "final_norm"])
def test_directions_of_blocks_have_no_meaning_there(site: str) -> None:
    plan = SteeringPlan.build(vectors=make_vector(), alpha=1, site=site)
    with pytest.raises(SteeringError, match=rf"site={site} takes directions .* has those of block: .* --site {site}"):
        plan.fit(3, 32)


def test_another_site_is_another_intervention() -> None:
    v = np.ones(4, dtype=np.float32)
    prints = {intervene([Edit(0, "add", v, 1.0, site)]).fingerprint for site in SITES}
    assert len(prints) == len(SITES.names)
    assert "site" not in intervene([Edit(0, "add", v, 1.0)]).content()["edits"][0]  # as records have it
    several = intervene([Edit(0, "add", v, 1.0, site) for site in ("mlp", "block", "block_input")])
    assert several.places == (0, "block_input.0", "mlp.0")


# Against weights: what has no hook


def heads(seed: int, block: int = 1) -> np.ndarray:
    """Directions of four heads [4, 8], of length 1."""
    found = np.random.default_rng([seed, block]).normal(size=(4, 8)).astype(np.float32)
    return np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True), dtype=np.float32)


def unit(seed: int, block: int = 1) -> np.ndarray:
    found = np.random.default_rng([seed, block]).normal(size=models.WIDTH).astype(np.float32)
    return np.asarray(found / np.linalg.norm(found), dtype=np.float32)


IDS = torch.tensor([[60, 61, 62, 5, 9, 200, 3]])


@torch.no_grad()
def logits(model: Any, *edits: Edit, **more: Any) -> torch.Tensor:
    """Of a text whose positions are all steered [positions, vocabulary]."""
    steerer = Steerer(model, [intervene(edits, **more)])
    with steerer.scoring([0], torch.ones_like(IDS, dtype=torch.bool)):
        found: torch.Tensor = model(IDS).logits[0]
    return found


@pytest.mark.parametrize(
    ("family", "site", "layer", "changes"),
    [
        ("llama", "attention", "model.layers.1.self_attn.o_proj", {"attention_bias": True}),
        ("llama", "mlp", "model.layers.1.mlp.down_proj", {"mlp_bias": True}),
        ("gpt2", "attention", "transformer.h.1.attn.c_proj", {}),
        ("gpt2", "mlp", "transformer.h.1.mlp.c_proj", {}),
        ("gpt_neox", "attention", "gpt_neox.layers.1.attention.dense", {}),
        ("opt", "mlp", "model.decoder.layers.1.fc2", {}),
    ],
)
def test_a_shift_of_what_is_added_is_a_bias_of_the_projection(
    family: str, site: str, layer: str, changes: dict[str, Any]
) -> None:
    model = models.make_model(family, **changes)
    steered = logits(model, Edit(1, "add", unit(0), 3.0, site))
    bias: Any = model.get_submodule(layer).bias
    bias.data += 3 * torch.from_numpy(unit(0))
    assert torch.allclose(steered, logits(model), atol=1e-4)
    assert not torch.allclose(steered, logits(models.make_model(family, **changes)), atol=0.1)


def test_a_multiplied_shift_is_a_bias_times_the_multiplier() -> None:
    model = models.make_model("granite", mlp_bias=True)
    steered = logits(model, Edit(1, "add", unit(0), 3.0, "mlp"))
    bias: Any = model.get_submodule("model.layers.1.mlp.down_proj").bias
    bias.data += 3 / 0.22 * torch.from_numpy(unit(0))
    assert torch.allclose(steered, logits(model), atol=1e-4)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_shift_of_heads_is_their_columns_of_the_projection_folded_into_its_bias(family: str) -> None:
    model = models.make_model(family, **({"attention_bias": True} if family == "llama" else {}))
    v = heads(0)
    v[2] = 0  # a head that is not chosen
    steered = logits(model, Edit(1, "add", v, 3.0, "heads"))
    name = {"llama": "model.layers.1.self_attn.o_proj", "gpt2": "transformer.h.1.attn.c_proj"}[family]
    layer: Any = model.get_submodule(name)
    weight = layer.weight if family == "llama" else layer.weight.T  # [hidden, heads x head_dim]
    layer.bias.data += weight.data @ torch.from_numpy(3 * v.reshape(-1))
    assert torch.allclose(steered, logits(model), atol=1e-4)


def test_a_dose_of_heads_is_a_share_of_each_heads_norm() -> None:
    model, v, seen = models.make_model("llama"), heads(0), []
    v[2] = 0
    projection = model.get_submodule("model.layers.1.self_attn.o_proj")
    projection.register_forward_pre_hook(lambda _, args: seen.append(args[0][0].unflatten(-1, (4, 8))))
    logits(model)
    steered = Steerer(model, [intervene([Edit(1, "add", v, 0.5, "heads")], unit="dose")])
    with torch.no_grad(), steered.scoring([0], torch.ones_like(IDS, dtype=torch.bool)):
        projection.register_forward_pre_hook(lambda _, args: seen.append(args[0][0].unflatten(-1, (4, 8))))
        model(IDS)
    before, after = seen[0], seen[-1]
    assert torch.isfinite(after).all()
    moved = (after - before).norm(dim=-1) / before.norm(dim=-1)
    assert torch.allclose(moved, torch.tensor([0.5, 0.5, 0.0, 0.5]), atol=1e-5)
    assert torch.equal(after[:, 2], before[:, 2])
    (found,) = report_one(
        {place: [of[0] for of in sums] for place, sums in steered.doses.sums().items()}, NOTHING
    ).items()
    assert found[0] == "heads.1"
    wanted = (after - before).flatten(1).norm(dim=1) / before.flatten(1).norm(dim=1)
    assert found[1]["dose"] == pytest.approx(float(wanted.mean()), rel=1e-5)


def test_the_last_norm_is_a_bias_of_the_logits() -> None:
    model = models.make_model("llama")
    moved = logits(model, Edit(0, "add", unit(0), 3.0, "final_norm")) - logits(model)
    head: Any = model.get_output_embeddings()
    assert torch.allclose(moved, 3 * (head.weight.data @ torch.from_numpy(unit(0))).expand_as(moved), atol=1e-4)


def test_the_input_of_a_block_is_the_output_of_the_one_before() -> None:
    model = models.make_model("gemma2")
    for operator in ("add", "ablate"):
        after, before = Edit(0, operator, unit(0), 1.0), Edit(1, operator, unit(0), 1.0, "block_input")
        assert torch.equal(logits(model, after), logits(model, before))


def test_the_input_of_the_first_block_is_every_row_of_the_position_embeddings() -> None:
    model = models.make_model("gpt2")
    steered = logits(model, Edit(0, "add", unit(0), 3.0, "block_input"))
    positions: Any = model.get_submodule("transformer.wpe")
    positions.weight.data += 3 * torch.from_numpy(unit(0))
    assert torch.allclose(steered, logits(model), atol=1e-4)


def test_ablation_at_three_sites_is_a_model_whose_weights_cannot_write_the_direction() -> None:
    """Arditi's: inputs of blocks, attention and MLP of all blocks, with one direction; once more changes nothing."""
    model = models.make_model("llama", tie_word_embeddings=False)
    sites = ("block_input", "attention", "mlp")
    edits = [Edit(block, "ablate", unit(0), 1.0, site) for site in sites for block in range(models.DEPTH)]
    steered = logits(model, *edits)
    assert not torch.allclose(steered, logits(model, *[e for e in edits if e.site == "block_input"]), atol=0.1)
    v = torch.from_numpy(unit(0))
    embedding: Any = model.get_input_embeddings()
    embedding.weight.data -= torch.outer(embedding.weight.data @ v, v)
    for name, parameter in model.named_parameters():
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            parameter.data -= torch.outer(v, v @ parameter.data)
    assert torch.allclose(steered, logits(model), atol=1e-4)
    assert torch.allclose(steered, logits(model, *edits), atol=1e-4)


def test_numbers_that_a_multiplied_site_leaves_alone_keep_their_bits() -> None:
    model = models.make_model("granite", dtype=torch.bfloat16).to(torch.bfloat16)
    plain = logits(model)
    steerer = Steerer(model, [intervene([Edit(1, "add", unit(0), 3.0, "mlp")])])
    mask = torch.ones_like(IDS, dtype=torch.bool)
    mask[:, :4] = False
    with torch.no_grad(), steerer.scoring([0], mask):
        steered = model(IDS).logits[0]
    assert torch.equal(steered[:4], plain[:4])
    assert not torch.equal(steered[4:], plain[4:])


def test_heads_of_another_number_are_refused() -> None:
    with pytest.raises(SteeringError, match=r"heads of block 1 are of 2 heads, and the model has 4 there: extract"):
        Steerer(models.make_model("llama"), [intervene([Edit(1, "add", heads(0).reshape(2, 16), 1.0, "heads")])])
