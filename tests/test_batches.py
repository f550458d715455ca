"""How many rows a batch has: what the user chose, `auto`, or what bytes allow."""

from __future__ import annotations

import sys
from typing import Any

import pytest

import models
from conftest import make_vector
from lm_eval_steer.engines.hf import memory
from lm_eval_steer.interventions.plan import SteeringPlan
from lm_eval_steer.models.batches import bounded, chosen_batch_size
from lm_eval_steer.models.hf import SteeredHF


def test_a_default_is_told_from_a_1_that_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    assert chosen_batch_size({}) is chosen_batch_size({"batch_size": None}) is None
    assert chosen_batch_size({"batch_size": 1}) == 1  # simple_evaluate
    monkeypatch.setattr(sys, "argv", ["/usr/bin/lm_eval", "run", "--model", "steered-hf"])
    assert chosen_batch_size({"batch_size": 1}) is None  # EvaluatorConfig's default
    assert [chosen_batch_size({"batch_size": size}) for size in ("1", 8, "auto:4")] == ["1", 8, "auto:4"]
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--config", "run.yaml"])
    assert chosen_batch_size({"batch_size": 1}) == 1


def test_batches_are_bounded_by_rows_times_positions_times_bytes() -> None:
    assert bounded([3, 3, 3, 3], 10, limit=60) == [[0, 1], [2, 3]]
    assert bounded([1, 1, 5, 1], 10, limit=60) == [[0, 1], [2], [3]]  # the longest counts for all of its batch
    assert bounded([9, 9, 1], 10, limit=60) == [[0], [1], [2]]
    assert bounded([0] * 5, 10, limit=60, most=2) == [[0, 1], [2, 3], [4]]
    assert bounded([1] * 5, 10, limit=60) == [[0, 1, 2, 3, 4]]
    assert bounded([], 10, limit=60) == []


def test_the_default_is_auto_and_1_where_hf_takes_its_own_path() -> None:
    model: Any = models.make_model("llama")
    lm = SteeredHF(model, tokenizer=models.make_tokenizer(), vectors=make_vector(), alpha=[0.5, 1.0])
    assert lm.batch_size == "auto"
    lm.steer(SteeringPlan.build(alpha=0))
    assert lm.batch_size == 1
    given = SteeredHF(model, tokenizer=models.make_tokenizer(), batch_size=3, vectors=make_vector(), alpha=0.5)
    assert given.batch_size == 3


def test_auto_takes_what_the_memory_of_a_cpu_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    """HFLM would try the largest batch there, and a CPU has no error for a batch that is too large."""
    model: Any = models.make_model("llama")
    lm = SteeredHF(model, tokenizer=models.make_tokenizer(), batch_size="auto", alpha=0, max_length=512)
    monkeypatch.setattr(lm, "_model_call", lambda *args, **kwargs: pytest.fail("a batch is tried"))
    cache = 2 * models.DEPTH * 2 * 8 * 4  # keys and values of two heads of width 8 in float32
    found = []
    for room in (1, 4, 10**6):
        free = room * 512 * (cache + 259 * 4) / memory.SHARE * memory.COPIES
        monkeypatch.setattr(memory, "free_bytes", lambda device, free=free: free)
        found.append(lm._detect_batch_size([("", [1] * 500, [1] * 12)]))
    assert found == [1, 4, 64]
