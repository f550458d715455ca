"""Rows of a batch under batch_size=auto."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import models
from lm_eval_steer.engines.hf import memory
from lm_eval_steer.engines.hf.child import Child
from lm_eval_steer.engines.hf.traits import Traits


def make_traits(limit: int = 64) -> Traits:
    return Traits(Child(models.make_model("llama"), None, torch.device("cpu"), 2048, max_rows=limit))


def test_a_position_takes_its_keys_and_values() -> None:
    traits = make_traits()
    config = traits.child.model.config
    heads, width = config.num_key_value_heads, config.hidden_size // config.num_attention_heads
    assert traits.bytes_per_position == 2 * config.num_hidden_layers * heads * width * 4


def test_a_model_that_keeps_other_state_has_no_such_bytes() -> None:
    traits = make_traits()
    config = traits.child.model.config
    config.layer_types = ["linear_attention"] * config.num_hidden_layers
    assert traits.bytes_per_position == 0
    assert traits.rows_that_fit(500, 3) == 64


@pytest.mark.parametrize(("rows", "limit", "expected"), [(10, 64, 10), (10, 4, 4), (0.2, 64, 1)])
def test_rows_that_fit(rows: float, limit: int, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    traits = make_traits(limit)
    row = 2 * (500 * traits.bytes_per_position + 3 * traits.child.model.config.vocab_size * 4)
    monkeypatch.setattr(memory, "free_bytes", lambda device: int(2.001 * rows * row))
    assert traits.rows_that_fit(500, 3) == expected


def test_the_limit_of_a_container_counts(tmp_path: Path) -> None:
    assert memory._left_in_container(tmp_path) == 2**63
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("700\n")
    (tmp_path / "memory.stat").write_text("anon 500\ninactive_file 150\n")
    assert memory._left_in_container(tmp_path) == 450
    (tmp_path / "memory.max").write_text("max\n")
    assert memory._left_in_container(tmp_path) == 2**63
    assert 0 < memory.free_bytes(torch.device("cpu")) < 2**50
