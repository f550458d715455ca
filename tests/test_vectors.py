"""The shipped vectors, and what their .md passports say of them."""

from __future__ import annotations

import importlib.resources
from pathlib import Path

import pytest

from lm_eval_steer.tasks.splits import Manifest
from lm_eval_steer.vectors.catalog import find_vector, shipped_folder, shipped_names
from lm_eval_steer.vectors.vector import SteeringVector


@pytest.mark.parametrize("name", shipped_names())
def test_shipped_vectors_have_passports_that_agree(name: str) -> None:
    vector = SteeringVector.load(find_vector(name))
    text = (shipped_folder() / f"{name}.md").read_text(encoding="utf-8")
    assert vector.fingerprint in text
    dataset, data = name.partition("_")[2], vector.passport["data"]
    method = "" if vector.passport["method"]["method"] == "pca" else f"--method {vector.passport['method']['method']} "
    assert f"--task {dataset}_steer {method}--n {data['n_pairs']} --out vectors/{name}.safetensors" in text
    folder = Path(str(importlib.resources.files("lm_eval_steer.tasks")))
    manifest = Manifest.read(folder / dataset / "manifest.json")
    assert set(data["rows"]) <= set(manifest.splits["extraction"])
    assert len(set(data["rows"])) == data["n_pairs"]


def test_vectors_of_embedded_models_are_shipped() -> None:
    assert shipped_names() == [
        "qwen2.5-coder-0.5b_sentiment",
        "smollm2_arith",
        "smollm2_gsm8k",
        "smollm2_sentiment",
    ]
