"""Files of other sites: what is read there, what a file holds, and what takes it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

import lm_eval_steer
import models
from lm_eval_steer.cli.main import main
from lm_eval_steer.engines.hf.blocks import find_blocks
from lm_eval_steer.engines.reference import Reference
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.extraction.args import ExtractionArgs
from lm_eval_steer.extraction.extract import extract, load_parent
from lm_eval_steer.extraction.of_sites import best_heads
from lm_eval_steer.extraction.source import load_source
from lm_eval_steer.interventions.plan import SteeringPlan
from lm_eval_steer.models.hf import SteeredHF
from lm_eval_steer.sites import SITES
from lm_eval_steer.vectors.load import load_vector
from lm_eval_steer.vectors.several import AnyVector, SeveralSites
from lm_eval_steer.vectors.vector import SteeringVector

TEXTS = [("The sky is blue.", "No."), ("a", "A much longer text"), ("x y", "z"), ("up", "down it goes")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.save_model(tmp_path_factory.mktemp("parent"), "gemma2")


@pytest.fixture(scope="module")
def parent(folder: Path) -> SteeredHF:
    return load_parent({"pretrained": str(folder), "dtype": "float32"}, "cpu")


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pairs") / "pairs.jsonl"
    path.write_text("".join(json.dumps({"positive": one, "negative": other}) + "\n" for one, other in TEXTS))
    return path


def read(pairs: Path, parent: SteeredHF, **more: Any) -> AnyVector:
    args = ExtractionArgs(pairs=str(pairs), method="mean", **more)
    return extract(args, load_source(args), parent)


@pytest.fixture(scope="module")
def every(pairs: Path, parent: SteeredHF) -> SeveralSites:
    found = read(pairs, parent, site=list(SITES))
    assert isinstance(found, SeveralSites)
    return found


def by_hand(parent: SteeredHF) -> dict[str, np.ndarray]:
    """Mean difference of what hooks on modules that are named here see, at length 1 [blocks, hidden]."""
    blocks = find_blocks(parent.model)
    read_at: dict[str, list[tuple[torch.nn.Module, bool]]] = {
        "block": [(block, False) for block in blocks],
        "block_input": [(block, True) for block in blocks],
        "attention": [(block.get_submodule("post_attention_layernorm"), False) for block in blocks],
        "mlp": [(block.get_submodule("post_feedforward_layernorm"), False) for block in blocks],
        "heads": [(block.get_submodule("self_attn.o_proj"), True) for block in blocks],
        "final_norm": [(parent.model.get_submodule("model.norm"), False)],
    }
    found = {}
    for site, modules in read_at.items():
        rows = []
        for module, is_input in modules:
            seen: list[torch.Tensor] = []

            def keep(_: Any, args: Any, kwargs: Any, output: Any, seen: Any = seen, is_input: bool = is_input) -> None:
                given = args[0] if args else kwargs["hidden_states"]
                state = given if is_input else output[0] if isinstance(output, tuple) else output
                seen.append(state[0, -1].detach())

            handle = module.register_forward_hook(keep, with_kwargs=True)
            with torch.no_grad():
                for sides in TEXTS:
                    for text in sides:
                        parent.model(torch.tensor([parent.tok_encode(text)]))
            handle.remove()
            states = torch.stack(seen).double().numpy()
            mean = (states[::2] - states[1::2]).mean(axis=0)
            mean = mean.reshape(4, -1) if site == "heads" else mean
            rows.append(mean / np.linalg.norm(mean, axis=-1, keepdims=True))
        found[site] = np.stack(rows)
    return found


def test_each_site_is_read_where_it_is(parent: SteeredHF, every: SeveralSites) -> None:
    wanted = by_hand(parent)
    for site in SITES:
        assert np.allclose(every.at(site).directions, wanted[site], atol=1e-4), site
    assert np.allclose(every.at("block_input").directions[1:], every.at("block").directions[:-1], atol=1e-5)
    said = every.at("heads").passport["blocks"][1]
    assert len(said["projection_deviation"]) == len(said["held_out_separation"]) == len(said["mean_norm"]) == 4


def test_sites_together_are_those_read_alone(pairs: Path, parent: SteeredHF, every: SeveralSites) -> None:
    for site in ("block", "heads"):
        alone = read(pairs, parent, site=site)
        assert isinstance(alone, SteeringVector)
        assert alone.fingerprint == every.at(site).fingerprint
        assert alone.passport["blocks"] == every.at(site).passport["blocks"]


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_a_file_of_several_sites_comes_back(suffix: str, every: SeveralSites, tmp_path: Path) -> None:
    path = every.save(tmp_path / f"every{suffix}")
    back = load_vector(path)
    assert back.sites == tuple(SITES)
    assert back.fingerprint == every.fingerprint
    assert back.passport == every.passport
    assert [list(back.passport["sites"][site]) for site in SITES] == [["blocks"]] * len(SITES.names)
    assert path.read_bytes() == back.save(tmp_path / f"again{suffix}").read_bytes()
    with pytest.raises(SteeringError, match=r"of several sites .block, block_input, attention, .*one is read"):
        SteeringVector.load(path)


def test_what_fits_into_version_1_is_written_so(every: SeveralSites, tmp_path: Path) -> None:
    for site, version in (("block", 1), ("mlp", 2), ("final_norm", 2)):
        path = every.at(site).save(tmp_path / "v.safetensors")
        header = path.read_bytes()[8:].split(b"__metadata__")[1][:200]
        assert rf"\"format_version\": {version}".encode() in header
        names = {"block": "direction.0", "mlp": "mlp.0", "final_norm": "final_norm.0"}
        assert min(load_file(path)) == names[site]
        assert SteeringVector.load(path).site == site


PARENT = {"name": "p", "hidden_size": 8, "num_blocks": 2}
UNIT = np.eye(8, dtype=np.float32)[0]
HEADS = np.eye(2, 4, dtype=np.float32)
BAD: list[tuple[int, dict[str, Any], dict[str, np.ndarray], str]] = [
    (1, {"sites": {"mlp": {}}}, {"mlp.0": UNIT}, "its passport says sites, which format_version 1 has not: it is of"),
    (2, {"site": "mlp"}, {"direction.0": UNIT}, "its passport says directions of mlp, and its tensors are of block"),
    (
        2,
        {"sites": {"mlp": {}}},
        {"mlp.0": UNIT, "heads.0": HEADS},
        "says directions of mlp, and its tensors are of mlp",
    ),
    (
        2,
        {"sites": ["mlp"]},
        {"mlp.0": UNIT},
        "the passport says sites ['mlp'], expected an object of block, block_input",
    ),
    (2, {"site": "heads"}, {"heads.0": UNIT}, "heads.0 has shape [8], expected [heads, head_dim]"),
    (2, {"site": "heads"}, {"heads.0": HEADS * 0}, "heads.0 has length 0, expected 1"),
    (2, {"site": "heads"}, {"heads.0": HEADS * 2}, "heads.0 has length 2, expected 1"),
    (2, {"site": "heads"}, {"heads.0": HEADS, "heads.1": HEADS[:1]}, "the same width, got 1 x 4 and 2 x 4"),
    (2, {"site": "mlp"}, {"mlp.0": HEADS}, "mlp.0 has shape [2, 4], expected [hidden]"),
    (2, {"site": "mlp"}, {"mlp.2": UNIT}, "there is a direction for block 2, but the passport says num_blocks 2"),
    (2, {"site": "final_norm"}, {"final_norm.1": UNIT}, "a model has one final_norm, whose direction is final_norm.0"),
    (2, {}, {"block.0": UNIT}, "unexpected tensor 'block.0', expected direction.N"),
]


@pytest.mark.parametrize(("version", "passport", "tensors", "words"), BAD)
def test_what_a_file_must_not_say(
    version: int, passport: dict[str, Any], tensors: dict[str, np.ndarray], words: str, tmp_path: Path
) -> None:
    header = {"format": "lm_eval_steer.vector", "format_version": version, "passport": {"parent": PARENT} | passport}
    save_file(tensors, tmp_path / "v.safetensors", metadata={"lm_eval_steer": json.dumps(header)})
    with pytest.raises(SteeringError) as caught:
        load_vector(tmp_path / "v.safetensors")
    assert words in str(caught.value)


def test_a_file_steers_where_it_was_read(every: SeveralSites) -> None:
    plan = SteeringPlan.build(vectors=every.at("heads"), alpha=1)
    assert plan.settings()["site"] == "heads"
    child = plan.fit(3, 32)
    assert child is not None
    (one,) = plan.interventions(3, child)
    assert one.places == ("heads.0", "heads.1", "heads.2")
    everywhere = SteeringPlan.build(vectors=every, alpha=1, layers="1-2")
    child = everywhere.fit(3, 32)
    assert child is not None
    assert child.report["steered_blocks"] == [1, 2]
    (one,) = everywhere.interventions(3, child)
    assert len(one.edits) == 2 * 5 + 1
    assert all(np.array_equal(edit.direction, every.at(edit.site).tensors[edit.place]) for edit in one.edits)


def test_a_model_in_a_program_is_steered_at_every_site_at_once(parent: SteeredHF, every: SeveralSites) -> None:
    """`generate` of transformers, with its cache, against the oracle, which has none."""
    prompt = parent.tok_encode("The sky is")
    with lm_eval_steer.steer(parent.model, every, alpha=1.5, tokens="generated") as done:
        text = parent.model.generate(torch.tensor([prompt]), max_new_tokens=5, do_sample=False)
    assert set(done.sites) == set(SITES)
    oracle = Reference(parent.model, done)
    assert oracle.generate(prompt, 5, [257]).agrees(text[0, len(prompt) :].tolist())
    assert (
        text[0].tolist() != parent.model.generate(torch.tensor([prompt]), max_new_tokens=5, do_sample=False)[0].tolist()
    )


def test_directions_of_the_stream_steer_at_its_other_sites(every: SeveralSites) -> None:
    plan = SteeringPlan.build(vectors=every.at("mlp"), alpha=1, site="attention+block")
    child = plan.fit(3, 32)
    assert child is not None
    assert child.report["sites"] == {"block": "mlp", "attention": "mlp"}
    assert np.array_equal(child.directions[1], child.directions["attention.1"])


REFUSED = [
    (
        "mlp",
        {"site": "heads"},
        r"site=heads takes directions \[heads, head_dim\] of each block, and the .* mlp",
    ),
    ("heads", {"site": "block"}, "site=block takes directions of the output of a block, and the vector has .* heads"),
    ("every", {"site": "block", "layers": 9}, "layers=9 names block 9, but the model has blocks 0 to 2"),
    ("final_norm", {"layers": 1}, "layers=1 names blocks, and final_norm is behind all of them: leave layers out"),
    ("final_norm", {"alpha_per_layer": "linear:0:1"}, "and site=final_norm is behind all of them: give alpha alone"),
]


@pytest.mark.parametrize(("site", "arguments", "words"), REFUSED)
def test_what_a_site_is_not(site: str, arguments: dict[str, Any], words: str, every: SeveralSites) -> None:
    with pytest.raises(SteeringError, match=words):
        SteeringPlan.build(vectors=every if site == "every" else every.at(site), alpha=1, **arguments).fit(3, 32)


def test_of_two_sites_none_is_taken_for_a_third(every: SeveralSites) -> None:
    two = SeveralSites((every.at("attention"), every.at("mlp")))
    with pytest.raises(SteeringError, match=r"site=block takes directions .* has those of attention, mlp"):
        SteeringPlan.build(vectors=two, alpha=1, site="block").fit(3, 32)


def test_a_deviation_is_that_of_each_head(every: SeveralSites, parent: SteeredHF) -> None:
    plan = SteeringPlan.build(vectors=every.at("heads"), alpha=15, unit="sigma")
    child = plan.fit(3, 32, parent.model_identity)
    assert child is not None
    (one,) = plan.interventions(3, child)
    for edit, block in zip(one.edits, every.at("heads").passport["blocks"], strict=True):
        assert edit.strength == 15
        wanted = np.array(block["projection_deviation"])
        assert np.allclose(np.linalg.norm(edit.direction, axis=1), wanted, rtol=1e-5)
    both = SteeringPlan.build(vectors=every, site="mlp+heads", alpha=2, unit="projection")
    child = both.fit(3, 32, parent.model_identity)
    assert child is not None
    (one,) = both.interventions(3, child)
    block = every.at("mlp").passport["blocks"][0]
    gap = block["projection_positive"] - block["projection_negative"]
    assert next(edit for edit in one.edits if edit.place == "mlp.0").strength == pytest.approx(2 * gap, rel=1e-5)
    elsewhere = SteeringPlan.build(vectors=every.at("mlp"), site="attention", alpha=1, unit="sigma")
    with pytest.raises(SteeringError, match="unit counts in what was measured at mlp, and site=attention is another"):
        elsewhere.fit(3, 32, parent.model_identity)
    sets = SteeringPlan.build(vectors=every.at("heads"), alpha=1, unit="sigma", operator="set")
    with pytest.raises(SteeringError, match="operator=set sets a value, and in a unit of what was measured every head"):
        sets.fit(3, 32, parent.model_identity)


def test_a_control_is_another_direction_of_each_head_and_site(every: SeveralSites) -> None:
    held = every.at("heads")
    few = np.array(held.directions)
    few[:, 1] = 0
    vector = SeveralSites((every.at("attention"), SteeringVector(few, held.layers, held.passport)))
    for control in ("random:1", "shuffled", "negated"):
        plan = SteeringPlan.build(vectors=vector, alpha=1, control=control)
        child = plan.fit(3, 32)
        assert child is not None
        lengths = np.linalg.norm(child.directions["heads.1"], axis=-1)
        assert np.allclose(lengths, [1, 0, 1, 1], atol=1e-5)
        assert np.linalg.norm(child.directions["attention.1"]) == pytest.approx(1, abs=1e-5)
        assert not np.allclose(child.directions["attention.1"], vector.at("attention").directions[1], atol=0.1)


def test_the_best_heads_are_kept() -> None:
    rows = np.ones((3, 2, 4), dtype=np.float32)
    blocks = [{"block": 4 + n, "held_out_separation": s} for n, s in enumerate(([0.5, 0.9], [0.1, 0.2], [0.9, 0.6]))]
    layers, kept, said = best_heads(rows, blocks, 3)
    assert layers == (4, 6)
    assert [block["block"] for block in said] == [4, 6]
    assert kept[:, :, 0].tolist() == [[0, 1], [1, 1]]
    with pytest.raises(SteeringError, match="--heads 7 is more than the 6 heads of the blocks that are read"):
        best_heads(rows, blocks, 7)


def test_the_commands(folder: Path, pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "v.safetensors")
    model = ["--model_args", f"pretrained={folder},dtype=float32", "--device", "cpu", "--pairs", str(pairs)]
    main(["extract", *model, "--site", "heads+mlp", "--heads", "5", "--method", "mean", "--out", out])
    assert "3 of mlp of width 32, blocks 0-2;" in capsys.readouterr().out
    vector = load_vector(Path(out))
    assert sum(int(direction.any(axis=1).sum()) for direction in vector.at("heads").directions) == 5
    main(["vectors", "show", out])
    shown = capsys.readouterr().out
    assert "Directions at heads by block" in shown
    assert "of 4 heads of width 8" in shown
    for command, words in (
        (["vectors", "export", out, "--to", "repeng", "--out", str(tmp_path / "o.gguf")], "vectors export takes those"),
        (["vectors", "compare", out, out], "vectors compare takes those of one site alone: block or block_input or"),
        (
            ["vectors", "fold", out, "--alpha", "1", "--child", str(folder), "--out", str(tmp_path / "f")],
            "fold takes those of",
        ),
        (
            ["transfer", out, "--child", str(folder), "--texts", str(pairs), "--out", str(tmp_path / "t.safetensors")],
            "whose maps are fitted on the outputs of blocks",
        ),
    ):
        assert main(command)
        assert words in " ".join(capsys.readouterr().err.split()), command


def test_heads_for_a_site_without_heads(pairs: Path) -> None:
    with pytest.raises(SteeringError, match="--heads 3 keeps heads, and --site mlp has none: leave it out"):
        ExtractionArgs(pairs=str(pairs), site="mlp", heads=3)
    with pytest.raises(SteeringError, match="--layers 1 names blocks, and final_norm is behind all: leave it out"):
        ExtractionArgs(pairs=str(pairs), site="final_norm", layers="1")
