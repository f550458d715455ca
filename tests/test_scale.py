"""Vectors whose strength 1 is as long as it was in another tool."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

import models
from conftest import make_vector
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.plan import SteeringPlan
from lm_eval_steer.vectors.vector import SteeringVector

LENGTHS = [2.0, 0.5, 40.0]


def keeping(scale: Any = "keep", lengths: Any = LENGTHS) -> SteeringVector:
    plain = make_vector(blocks=3, width=models.WIDTH)
    blocks = [{"block": block, "length": length} for block, length in enumerate(lengths)]
    return SteeringVector(plain.directions, plain.layers, plain.passport | {"scale": scale, "blocks": blocks})


def test_strength_1_adds_the_length_that_the_passport_says() -> None:
    vector = keeping()
    child = SteeringPlan.build(vectors=vector, alpha=1).fit(3, models.WIDTH)
    assert child is not None
    for block, length in enumerate(LENGTHS):
        np.testing.assert_allclose(child.directions[block], length * vector.directions[block], rtol=1e-6)
        assert child.directions[block].dtype == np.float32
    np.testing.assert_array_equal(np.stack(list(child.directions.values())), vector.shifts)


def test_another_layer_map_takes_each_length_along_with_its_direction() -> None:
    child = SteeringPlan.build(vectors=keeping(), alpha=1, layer_map="[0:2,1:0]").fit(3, models.WIDTH)
    assert child is not None
    assert [float(np.linalg.norm(child.directions[block])) for block in (0, 1)] == pytest.approx([40, 2])


def test_a_child_of_another_width_is_shifted_as_far() -> None:
    child = SteeringPlan.build(vectors=keeping(), alpha=1).fit(3, models.WIDTH // 2)
    assert child is not None
    assert [float(np.linalg.norm(one)) for one in child.directions.values()] == pytest.approx(LENGTHS)


def test_lengths_that_do_not_count_change_nothing() -> None:
    plain, unit = make_vector(blocks=3, width=models.WIDTH), keeping("unit")
    assert unit.lengths is None
    assert unit.shifts is unit.directions
    assert unit.fingerprint == plain.fingerprint
    assert keeping().fingerprint != plain.fingerprint
    assert keeping(lengths=[2.0, 0.5, 41.0]).fingerprint != keeping().fingerprint


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_such_a_file_is_of_version_2_and_reads_back(suffix: str, tmp_path: Path) -> None:
    path = keeping().save(tmp_path / f"v{suffix}")
    assert SteeringVector.load(path).fingerprint == keeping().fingerprint
    if suffix == ".safetensors":
        with safe_open(path, framework="np") as file:
            assert json.loads(file.metadata()["lm_eval_steer"])["format_version"] == 2
        with safe_open(make_vector().save(tmp_path / "plain.safetensors"), framework="np") as file:
            assert json.loads(file.metadata()["lm_eval_steer"])["format_version"] == 1


def test_version_1_has_no_scale(tmp_path: Path) -> None:
    vector, path = keeping(), tmp_path / "v.safetensors"
    header = {"format": "lm_eval_steer.vector", "format_version": 1, "passport": vector.passport}
    save_file({"direction.0": vector.directions[0]}, path, metadata={"lm_eval_steer": json.dumps(header)})
    with pytest.raises(SteeringError, match="scale 'keep', which format_version 1 has not: it is of version 2"):
        SteeringVector.load(path)


@pytest.mark.parametrize(
    ("scale", "lengths", "words"),
    [
        ("raw", LENGTHS, "says scale 'raw', expected 'unit' or 'keep'"),
        (["keep"], LENGTHS, "says scale ['keep'], expected 'unit' or 'keep'"),
        ("keep", [1.0, 2.0], "and length None for block 2, expected a number above 0"),
        ("keep", [1.0, 0, 1.0], "and length 0 for block 1, expected"),
        ("keep", [1.0, True, 1.0], "and length True for block 1, expected"),
    ],
)
def test_a_scale_without_meaning_is_refused(scale: Any, lengths: Any, words: str) -> None:
    with pytest.raises(SteeringError, match=re.escape(words)):
        keeping(scale, lengths)
