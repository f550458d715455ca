"""Exported files in the programs that they are for: each gives the logits of the oracle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from steering_vectors import SteeringVector

from conftest import make_vector
from lm_eval_steer.engines.reference import Reference
from lm_eval_steer.vectors.exports import EXPORTS, Export, write_export
from models import make_model
from steerings import steering

with pytest.MonkeyPatch.context() as numpy_1:
    numpy_1.setattr(np, "float_", np.float64, raising=False)  # in an annotation of repeng 0.4.0; numpy 2 lacks it
    from repeng import ControlModel, ControlVector

FAMILIES = ["llama", "qwen3", "gemma2", "mistral"]
TEXT = [5, 6, 7, 8, 9, 10]
ALPHA = 3.0


def oracle(family: str, blocks: list[int]) -> torch.Tensor:
    directions = make_vector().directions
    one = steering({block: directions[block] for block in blocks}, ALPHA)
    return Reference(make_model(family), one).logits(TEXT, len(TEXT))


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(torch.tensor([TEXT])).logits[0]


@pytest.mark.parametrize("inside", [1.0, ALPHA])
@pytest.mark.parametrize("family", FAMILIES)
def test_repeng_adds_what_is_added_here(family: str, inside: float, tmp_path: Path) -> None:
    """With the strength in the file, or given there."""
    path = write_export(Export(make_vector(), inside), EXPORTS["repeng"], tmp_path / "v.gguf")
    model = ControlModel(make_model(family), [0, 1, 2])
    model.set_control(ControlVector.import_gguf(path), ALPHA / inside)
    torch.testing.assert_close(logits(model), oracle(family, [0, 1, 2]), atol=1e-4, rtol=0)
    model.reset()
    assert not torch.allclose(logits(model), oracle(family, [0, 1, 2]), atol=0.1)


@pytest.mark.parametrize("family", FAMILIES)
def test_repeng_adds_a_file_for_llama_cpp_at_the_same_blocks(family: str, tmp_path: Path) -> None:
    path = write_export(Export(make_vector(), 1.0, (1, 2)), EXPORTS["llama.cpp"], tmp_path / "v.gguf")
    model = ControlModel(make_model(family), [1, 2])
    model.set_control(ControlVector.import_gguf(path), ALPHA)
    torch.testing.assert_close(logits(model), oracle(family, [1, 2]), atol=1e-4, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("blocks", [[0, 1, 2], [1]])
def test_steering_vectors_adds_what_is_added_here(family: str, blocks: list[int], tmp_path: Path) -> None:
    path = write_export(Export(make_vector(), 1.0, tuple(blocks)), EXPORTS["steering-vectors"], tmp_path / "v.pt")
    model = make_model(family)
    with SteeringVector(torch.load(path)).apply(model, multiplier=ALPHA):
        found = logits(model)
    torch.testing.assert_close(found, oracle(family, blocks), atol=1e-4, rtol=0)
    assert not torch.allclose(logits(model), found, atol=0.1)
