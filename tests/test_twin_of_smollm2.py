"""A trained model in another basis: its vector comes back. Takes minutes, so `make test-slow` runs it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import twins
from lm_eval_steer.cli.main import main
from transfers import cosines

pytestmark = pytest.mark.slow
TEXTS = 150


@pytest.fixture(scope="module")
def folder(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a twin of SmolLM2, and the vectors of both from the same pairs."""
    folder = tmp_path_factory.mktemp("smollm2")
    child = AutoModelForCausalLM.from_pretrained(smollm2, dtype=torch.float32)
    twin = twins.rotated(child)
    tokenizer = AutoTokenizer.from_pretrained(smollm2)
    ids = tokenizer("The river was quiet, and two lamps burnt in the window.", return_tensors="pt").input_ids
    with torch.no_grad():
        assert torch.allclose(child(ids).logits, twin(ids).logits, atol=1e-2)
    twin.save_pretrained(folder / "rotated")
    tokenizer.save_pretrained(folder / "rotated")
    for name, model in {"own": smollm2, "rotated": folder / "rotated"}.items():
        told = ["--model_args", f"pretrained={model},dtype=float32", "--device", "cpu", "--method", "mean"]
        out = str(folder / f"{name}.safetensors")
        assert main(["extract", *told, "--task", "sentiment_steer", "--n", "16", "--out", out]) == 0
    return folder


@pytest.mark.parametrize(
    ("width_map", "least"), [("procrustes", 0.999), ("lstsq", 0.999), ("ridge:0.05", 0.7), ("ridge:0.0005", 0.95)]
)
def test_the_vector_of_a_trained_twin_comes_back(folder: Path, smollm2: Path, width_map: str, least: float) -> None:
    out = folder / "back.safetensors"
    models = ["--child_args", f"pretrained={smollm2},dtype=float32", "--device", "cpu"]
    models += ["--parent_args", f"pretrained={folder / 'rotated'},dtype=float32"]
    texts = ["--task", "arith_steer,sentiment_steer", "--n", str(TEXTS), "--tokens", "all"]
    told = [*models, *texts, "--cache", str(folder / "cache"), "--width_map", width_map]
    assert main(["transfer", str(folder / "rotated.safetensors"), *told, "--out", str(out)]) == 0
    got = cosines(out, folder / "own.safetensors")
    assert len(got) == 30
    assert got.min() >= least
