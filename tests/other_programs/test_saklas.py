"""saklas reads what was exported to it, and what it writes comes in, bit for bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from saklas.core.profile import Profile

from conftest import make_vector
from lm_eval_steer.vectors.exports import EXPORTS, Export, write_export
from lm_eval_steer.vectors.foreign import Answers, import_vector

PARENT = {"name": "m", "num_blocks": 3}


def profile(tmp_path: Path) -> Profile:
    return Profile.load(
        write_export(Export(make_vector(), 2.0), EXPORTS["saklas"], tmp_path / "v") / "vector.safetensors"
    )


def test_a_profile_is_what_was_exported(tmp_path: Path) -> None:
    found = profile(tmp_path)
    assert found.layers == [0, 1, 2]
    for block, direction in enumerate(make_vector().directions):
        np.testing.assert_array_equal(found.weight_at(block).numpy(), 2 * direction)


@pytest.mark.parametrize(
    ("name", "given", "format_"), [("p.safetensors", {"scale": "keep"}, "saklas"), ("p.gguf", {}, "llama.cpp")]
)
def test_what_it_writes_comes_in(name: str, given: dict[str, str], format_: str, tmp_path: Path) -> None:
    found = Profile({block: tensor.clone() for block, tensor in profile(tmp_path).items()})
    if name.endswith(".gguf"):
        found.to_gguf(tmp_path / name, model_hint="llama")
    else:
        found.save(tmp_path / name)
    vector = import_vector(tmp_path / name, Answers(given, PARENT))
    assert vector.passport["import"]["format"] == format_
    for row, (_, tensor) in zip(vector.shifts, sorted(found.items()), strict=True):
        np.testing.assert_allclose(row, tensor.numpy(), rtol=2e-7)
