"""Rows of a batch under batch_size=auto."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import models
from lm_eval_steer.engines.hf import memory


def make_lm(limit: int = 64) -> Any:
    model = models.make_model("llama")
    return SimpleNamespace(model=model, device=torch.device("cpu"), max_batch_size=limit)


def test_a_position_takes_its_keys_and_values() -> None:
    lm = make_lm()
    config = lm.model.config
    heads, width = config.num_key_value_heads, config.hidden_size // config.num_attention_heads
    assert memory.bytes_per_position(lm) == 2 * config.num_hidden_layers * heads * width * 4


def test_a_model_that_keeps_other_state_has_no_such_bytes() -> None:
    lm = make_lm()
    lm.model.config.layer_types = ["linear_attention"] * lm.model.config.num_hidden_layers
    assert memory.bytes_per_position(lm) == 0
    assert memory.rows_that_fit(lm, 500, 3) == 64


@pytest.mark.parametrize(("rows", "limit", "expected"), [(10, 64, 10), (10, 4, 4), (0.2, 64, 1)])
def test_rows_that_fit(rows: float, limit: int, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    lm = make_lm(limit)
    row = 2 * (500 * memory.bytes_per_position(lm) + 3 * lm.model.config.vocab_size * 4)
    monkeypatch.setattr(memory, "free_bytes", lambda device: int(2.001 * rows * row))
    assert memory.rows_that_fit(lm, 500, 3) == expected


def test_the_limit_of_a_container_counts(tmp_path: Path) -> None:
    assert memory._left_in_container(tmp_path) == 2**63
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("700\n")
    (tmp_path / "memory.stat").write_text("anon 500\ninactive_file 150\n")
    assert memory._left_in_container(tmp_path) == 450
    (tmp_path / "memory.max").write_text("max\n")
    assert memory._left_in_container(tmp_path) == 2**63
    assert 0 < memory.free_bytes(torch.device("cpu")) < 2**50
