"""The warning of a dtype that this CPU has no instructions for."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest
import torch

import models
from lm_eval_steer.models import slow_dtype
from lm_eval_steer.models.hf import SteeredHF


def test_slowdown_is_the_ratio_of_the_fastest_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three runs in the dtype, of 14, 8 and 10 seconds, and three in float32, of 4, 2 and 3."""
    clock = iter([0, 14, 20, 28, 30, 40, 50, 54, 60, 62, 70, 73])
    monkeypatch.setattr(slow_dtype, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    assert slow_dtype.slowdown(torch.bfloat16) == 4.0


@pytest.mark.parametrize(("dtype", "times", "warns"), [
    ("bfloat16", 140.0, True), ("bfloat16", 3.9, False), ("float32", 140.0, False),
])  # fmt: skip
def test_a_model_in_a_slow_dtype_is_told(
    dtype: str, times: float, warns: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(slow_dtype, "slowdown", lambda kind: times)
    model = models.make_model("llama").to(getattr(torch, dtype))
    with caplog.at_level(logging.WARNING):
        SteeredHF(model, tokenizer=models.make_tokenizer(), alpha=0)
    said = (
        "bfloat16 takes 140 times as long as float32 on this CPU, which has no instructions for it: add dtype=float32"
    )
    assert (said in caplog.text) == warns
