"""Files of maps of low rank: imported from LoReFT, LEACE and bare tensors, kept in a vector file, applied, refused."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

import foreign
import models
from conftest import make_vector
from lm_eval_steer.engines.hf.blocks import find_blocks
from lm_eval_steer.engines.hf.hooks import Steerer
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.plan import SteeringPlan
from lm_eval_steer.vectors.exports.export import Export
from lm_eval_steer.vectors.foreign import Answers, import_vector
from lm_eval_steer.vectors.identity import Identity
from lm_eval_steer.vectors.low_rank import LowRank
from lm_eval_steer.vectors.vector import SteeringVector, read_sites, save

WIDTH, RANK = models.WIDTH, 3
MODEL = Identity("org/tiny")
ANSWERS: dict[str, Any] = {"parent": {"name": "tiny", "num_blocks": models.DEPTH}}


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed + sum(shape))) / 4


def loreft(block: int) -> dict[str, torch.Tensor]:
    """What pyreft writes of a block (`LoreftIntervention.state_dict`)."""
    rotation = torch.linalg.qr(draw(WIDTH, RANK, seed=block))[0]
    return {"weight": draw(RANK, WIDTH, seed=block), "bias": draw(RANK, seed=block), "rotate_layer": rotation}


def pyreft_folder(folder: Path) -> Path:
    folder.mkdir()
    for block in (0, 2):
        name = f"intkey_layer.{block}.comp.block_output.unit.pos.nunit.1#0.bin"
        torch.save(loreft(block), folder / name)
    return folder


def imported(path: Path) -> SteeringVector:
    return import_vector(path, Answers(**ANSWERS))


def outputs(vector: SteeringVector, alpha: float) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Outputs of the first steered block, before and behind it, read by hooks of our own."""
    plan = SteeringPlan.build(vectors=vector, operator="low_rank", alpha=alpha, layers=vector.layers[0])
    (one,) = plan.interventions(models.DEPTH, plan.fit(models.DEPTH, WIDTH, MODEL))
    model = models.make_model("llama")
    seen: list[torch.Tensor] = []
    block = find_blocks(model)[vector.layers[0]]

    def look(module: Any, args: Any, output: Any) -> None:
        seen.append((output[0] if isinstance(output, tuple) else output).clone())

    block.register_forward_hook(look)
    steerer = Steerer(model, [one])
    with torch.no_grad(), steerer.scoring([0], torch.ones(1, 5, dtype=torch.bool)):
        block.register_forward_hook(look)
        model(torch.tensor([[65, 66, 67, 68, 69]]))
    return [(seen[0], seen[1])]


def test_a_folder_of_loreft_acts_as_its_authors_module(tmp_path: Path) -> None:
    vector = imported(pyreft_folder(tmp_path / "loreft"))
    assert (vector.layers, sorted(vector.maps)) == ((0, 2), [0, 2])
    assert vector.passport["import"]["says"] == {"kind": "LoReFT", "rank": RANK}
    assert "operator=low_rank" in vector.passport["import"]["notes"][0]
    module = loreft(0)
    linear = torch.nn.Linear(WIDTH, RANK)
    linear.load_state_dict({"weight": module["weight"], "bias": module["bias"]})
    for before, after in outputs(vector, 1.0):
        rotated = before @ module["rotate_layer"]
        wanted = before + (linear(before) - rotated) @ module["rotate_layer"].T
        assert torch.allclose(after, wanted, atol=1e-4)
        assert not torch.allclose(after, before, atol=0.1)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_maps_are_kept_in_a_vector_file(tmp_path: Path, suffix: str) -> None:
    vector = imported(pyreft_folder(tmp_path / "loreft"))
    again = SteeringVector.load(vector.save(tmp_path / f"maps{suffix}"))
    assert again.fingerprint == vector.fingerprint
    assert again.passport == vector.passport
    for block, one in vector.maps.items():
        for name, array in one.tensors(block).items():
            assert np.array_equal(again.maps[block].tensors(block)[name], array)
    other = replace(vector.maps[0], shift=vector.maps[0].shift + 1)
    assert replace(vector, maps={0: other, 2: vector.maps[2]}).fingerprint != vector.fingerprint


def test_an_eraser_takes_out_what_tells_classes_apart(tmp_path: Path) -> None:
    """LEACE of one concept with a covariance of 1: the classes' means are one behind it."""
    mean, apart = draw(WIDTH, seed=1), draw(WIDTH, seed=2)
    unit = apart / apart.norm()
    tensors = {"layers.1.proj_left": unit[:, None], "layers.1.proj_right": unit[None], "layers.1.bias": mean}
    save_file({name: one.numpy() for name, one in tensors.items()}, tmp_path / "leace.safetensors")
    vector = imported(tmp_path / "leace.safetensors")
    assert vector.passport["method"]["method"] == "LEACE"
    for before, after in outputs(vector, 1.0):
        assert torch.allclose(after @ unit, (mean @ unit).expand(1, 5), atol=1e-4)
        across = before - (before @ unit)[..., None] * unit
        assert torch.allclose(after - (after @ unit)[..., None] * unit, across, atol=1e-4)


def test_a_table_of_maps_is_read_as_it_stands(tmp_path: Path) -> None:
    read, shift, write = draw(WIDTH, RANK), draw(RANK), draw(WIDTH, RANK, seed=5)
    torch.save({1: {"A": read, "b": shift, "C": write}}, tmp_path / "maps.pt")
    torch.save({"1.A": read, "1.C": write}, tmp_path / "plain.pt")
    for name, constant in (("maps.pt", shift), ("plain.pt", 0 * shift)):
        for before, after in outputs(imported(tmp_path / name), -0.5):
            assert torch.allclose(after, before - 0.5 * (before @ read + constant) @ write.T, atol=1e-4)


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2"])
def test_a_steer_of_lm_steer_gives_the_logits_of_its_authors_head(family: str, tmp_path: Path) -> None:
    """`Projected_Adaptor.forward`: the head is given h + epsilon * value * (h P) Qᵀ."""
    first, second = draw(2, WIDTH, RANK), draw(2, WIDTH, RANK, seed=3)
    told = {"model_name": "org/tiny", "epsilon": 0.1}
    path = foreign.lm_steer(tmp_path / "steer.pt", told, projector1=first, projector2=second)
    answers = Answers({"row": 1}, {"num_blocks": models.DEPTH})
    vector = import_vector(path, answers)
    assert (vector.sites, sorted(vector.maps), vector.passport["parent"]["name"]) == (("final_norm",), [0], "org/tiny")
    again = SteeringVector.load(vector.save(tmp_path / "steer.safetensors"))
    assert again.fingerprint == vector.fingerprint
    plan = SteeringPlan.build(vectors=again, operator="low_rank", alpha=-3)
    (one,) = plan.interventions(models.DEPTH, plan.fit(models.DEPTH, WIDTH, MODEL))
    model = models.make_model(family)
    seen: list[torch.Tensor] = []
    head = model.get_output_embeddings()
    watch = head.register_forward_pre_hook(lambda module, given: seen.append(given[0].clone()))
    ids = torch.tensor([[65, 66, 67, 68, 69]])
    with torch.no_grad():
        plain = model(ids).logits
        watch.remove()
        (state,) = seen
        scale = plain / head(state)  # a cap behind the head, where the family has one, is not LM-Steer's
        with Steerer(model, [one]).scoring([0], torch.ones(1, 5, dtype=torch.bool)):
            steered = model(ids).logits
        wanted = head(state + 0.1 * -3 * (state @ first[1]) @ second[1].T)
    assert torch.allclose(scale, torch.ones_like(scale), atol=1e-5) == (family != "gemma2")
    if family == "gemma2":
        cap = model.config.final_logit_softcapping
        wanted = cap * torch.tanh(wanted / cap)
    assert torch.allclose(steered, wanted, atol=1e-4)
    assert not torch.allclose(steered, plain, atol=0.01)


def test_the_direction_of_a_map_is_where_it_writes_most() -> None:
    read, write = draw(WIDTH, 2).numpy(), draw(WIDTH, 2, seed=4).numpy()
    one = LowRank(read, np.zeros(2), write)
    found = np.linalg.svd(read @ write.T)[2][0]
    assert abs(found @ one.direction) == pytest.approx(1, abs=1e-5)
    constant = LowRank(0 * read, np.ones(2), write).direction
    assert constant == pytest.approx(write.sum(axis=1) / np.linalg.norm(write.sum(axis=1)), abs=1e-6)
    with pytest.raises(SteeringError, match="a map of nothing but zeros changes nothing"):
        _ = LowRank(read, np.ones(2), 0 * write).direction


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (
            {"operator": "add"},
            "the vector file holds maps of low rank, and operator=add takes directions",
        ),
        ({"control": "random:1"}, "control=random:1 puts other directions in place of the vector's"),
        ({"dose": 0.1, "alpha": None}, "dose=0.1 is a length, and the strength of operator=low_rank is a share"),
        ({"unit": "sigma"}, "unit=sigma is of a length, and the strength of operator=low_rank is a share"),
        ({"second": make_vector()}, "operator=low_rank takes a map of low rank, and second= names another: leave"),
        (
            {"vectors": make_vector()},
            "operator=low_rank applies a map of low rank, and the vector file holds directions",
        ),
    ],
)
def test_what_maps_do_not_take_is_refused(tmp_path: Path, given: dict[str, Any], sentence: str) -> None:
    vector = imported(pyreft_folder(tmp_path / "loreft"))
    with pytest.raises(SteeringError, match="^" + re.escape(sentence)):
        SteeringPlan.build(**({"vectors": vector, "operator": "low_rank", "alpha": 1} | given))


def test_maps_are_of_one_model(tmp_path: Path) -> None:
    vector = imported(pyreft_folder(tmp_path / "loreft"))
    plan = SteeringPlan.build(vectors=vector, operator="low_rank", alpha=1)
    for shape, model in (((models.DEPTH, 64), MODEL), ((models.DEPTH, WIDTH), Identity("org/other"))):
        with pytest.raises(SteeringError, match=r"^the maps of low rank are of tiny .* and this model is"):
            plan.fit(*shape, model)
    free = SteeringPlan.build(vectors=vector, operator="low_rank", alpha=1, allow_other_child=True)
    assert free.fit(models.DEPTH, WIDTH, Identity("org/other")) is not None
    with pytest.raises(SteeringError, match="and a file of another tool takes directions"):
        Export(vector)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (
            {"1.A": draw(WIDTH, 2), "1.C": draw(WIDTH, 3)},
            "block 1: a map of read [32, 2], shift [2] and write [32, 3] is none",
        ),
        (
            {"1.proj_left": draw(WIDTH, 2), "1.proj_right": draw(3, WIDTH), "1.bias": draw(8)},
            "the tensors of block 1 do not fit",
        ),
        ({"1.A": draw(2, 4), "1.C": draw(2, 4)}, "block 1: a map of rank 4 is 2 wide"),
    ],
)
def test_maps_that_are_none_are_refused(tmp_path: Path, content: dict[str, torch.Tensor], sentence: str) -> None:
    torch.save(content, tmp_path / "maps.pt")
    with pytest.raises(SteeringError, match=re.escape(sentence)):
        imported(tmp_path / "maps.pt")


def test_maps_are_of_one_site_of_whole_states(tmp_path: Path) -> None:
    vector = imported(pyreft_folder(tmp_path / "loreft"))
    other = {**vector.passport, "site": "mlp"}
    assert SteeringVector(vector.directions, vector.layers, other, vector.maps).fingerprint != vector.fingerprint
    passport = {key: said for key, said in vector.passport.items() if key not in ("site", "blocks")}
    both = vector.tensors | {f"mlp.{n}": row for n, row in zip(vector.layers, vector.directions, strict=True)}
    sites = {"block": {}, "mlp": {}}
    path = save(tmp_path / "both.safetensors", passport | {"sites": sites, "scale": "unit"}, both)
    with pytest.raises(SteeringError, match="a file of maps of low rank is of one site, and this one is of block, mlp"):
        read_sites(path)


def test_a_file_that_contradicts_itself_is_refused(tmp_path: Path) -> None:
    vector = imported(pyreft_folder(tmp_path / "loreft"))
    for changes, sentence in (
        ({"maps": {0: vector.maps[0]}}, "there are maps for blocks [0] and directions for [0, 2]"),
        ({"maps": {}}, "the passport says maps 'low_rank', and the file holds none"),
        ({"passport": {**vector.passport, "maps": "high_rank"}}, "the passport says maps 'high_rank'"),
    ):
        with pytest.raises(SteeringError, match=re.escape(sentence)):
            replace(vector, **changes)
    path = vector.save(tmp_path / "maps.safetensors")
    assert '"format_version": 2' in path.read_bytes()[:4000].decode(errors="ignore").replace('\\"', '"')
