"""The shipped vectors, and what their .md passports say of them."""

from __future__ import annotations

import importlib.resources
from pathlib import Path

import pytest

from lm_eval_steer.tasks.splits import Manifest
from lm_eval_steer.vectors import embedded
from lm_eval_steer.vectors.catalog import find_vector, shipped_folder, shipped_names
from lm_eval_steer.vectors.vector import SteeringVector


@pytest.mark.parametrize("name", shipped_names())
def test_shipped_vectors_have_passports_that_agree(name: str) -> None:
    vector = SteeringVector.load(find_vector(name))
    text = (shipped_folder() / f"{name}.md").read_text(encoding="utf-8")
    assert vector.fingerprint in text
    data = vector.passport["data"]
    dataset = data["task"].partition("_steer")[0].removesuffix("_direct")
    method = "" if vector.passport["method"]["method"] == "pca" else f"--method {vector.passport['method']['method']} "
    if vector.transfer is None:
        assert f"--task {data['task']} {method}--n {data['n_pairs']} --out vectors/{name}.safetensors" in text
    folder = Path(str(importlib.resources.files("lm_eval_steer.tasks")))
    manifest = Manifest.read(folder / dataset / "manifest.json")
    assert set(data["rows"]) <= set(manifest.splits["extraction"])
    assert len(set(data["rows"])) == data["n_pairs"]


@pytest.mark.parametrize("name", [name for name in shipped_names() if "_for_" in name])
def test_shipped_mapped_vectors_say_what_they_are_made_of(name: str) -> None:
    vector = SteeringVector.load(find_vector(name))
    transfer, text = vector.transfer, (shipped_folder() / f"{name}.md").read_text(encoding="utf-8")
    assert transfer is not None
    shuffle = "" if transfer["shuffled"] is None else f" --shuffle_texts {transfer['shuffled']}"
    assert (
        f"--child models/{vector.space['name']} --width_map {transfer['width_map']['name']} "
        f"--layer_map {transfer['layer_map']['name']} --tokens {transfer['tokens']} "
        f"--task {','.join(transfer['texts']['tasks'])} --n {transfer['texts']['n']}{shuffle} "
        f"--out vectors/{name}.safetensors"
    ) in text
    for block in transfer["blocks"]:
        numbers = f"{block['r2']:.3f} | {block['length']:.3f} | {block['cos_cut']:+.3f}"
        assert f"\n| {block['block']} | {block['source']} | {numbers} |\n" in text
    source = SteeringVector.load(find_vector(name.partition("_for_")[0]))
    assert [parent["fingerprint"] for parent in transfer["parents"]] == [source.fingerprint]
    digest = transfer["parents"][0]["digest"]
    assert source.passport["parent"].get("digest", digest) == digest  # smollm2_arith is older than digests


def test_a_shipped_mapped_vector_and_its_control_differ_in_the_texts_alone() -> None:
    mapped, control = (
        SteeringVector.load(find_vector(f"qwen2.5-coder-0.5b_sentiment_for_smollm2{end}"))
        for end in ("", ".map-shuffled-1")
    )
    one, other = (dict(vector.transfer or {}) for vector in (mapped, control))
    assert (one.pop("shuffled"), other.pop("shuffled")) == (None, 1)
    assert one.pop("blocks") != other.pop("blocks")
    assert one == other
    own = SteeringVector.load(find_vector("smollm2_sentiment")).directions
    alike = [float((vector.directions * own).sum(1).mean()) for vector in (mapped, control)]
    assert alike[0] > 0.5
    assert abs(alike[1]) < 0.1


def test_shipped_vectors_are_of_models_that_anyone_can_bring() -> None:
    assert {"smollm2_sentiment", "smollm2_gsm8k_direct"} < set(shipped_names())
    for name in shipped_names():
        vector = SteeringVector.load(find_vector(name))
        models = {one["name"] for one in (vector.passport["parent"], vector.space)}
        assert models <= set(embedded.MODELS)
        assert name.startswith(f"{vector.passport['parent']['name']}_")
