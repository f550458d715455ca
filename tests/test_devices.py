"""Models on devices that a machine for tests has not, played by elsewhere.py."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from transformers.generation import utils

from conftest import make_vector
from elsewhere import Elsewhere
from lm_eval_steer.engines.hf.blocks import find_blocks
from test_hf import CONTEXTS, SHARED, generations, make, scorings

LONG = [SHARED + text for text in CONTEXTS]
ARGUMENTS: dict[str, Any] = {"vectors": make_vector(), "alpha": 1.5}


def test_rows_leave_caches_on_several_devices() -> None:
    """As parallelize=True spreads blocks; the rows, of different length, stop one by one."""
    requests = generations(LONG, until=["6", "\x0f", "f"], repetition_penalty=1.1)
    alone = make(**ARGUMENTS)
    expected = [alone.generate_until(requests), alone.loglikelihood(scorings(LONG))]
    lm = make(**ARGUMENTS)
    last = find_blocks(lm.model)[-1]
    with Elsewhere("cuda:1") as devices:
        devices.place(last, "cuda:1")
        devices.place(lm.model.model.norm, "cpu")
        assert [lm.generate_until(requests), lm.loglikelihood(scorings(LONG))] == expected
    assert devices.made[torch.device("cuda:1")]


def test_an_apple_gpu_is_given_no_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    # transformers' own loop waits for such a device with an event of it
    monkeypatch.setattr(utils.DeferredStopCheck, "is_supported", staticmethod(lambda *args, **more: False))
    expected = make(**ARGUMENTS)
    lm = make(**ARGUMENTS)
    requests = generations(LONG, repetition_penalty=1.1, do_sample=True, temperature=0.7)
    with Elsewhere("mps") as devices:
        devices.place(lm.model, "mps")
        lm._device = torch.device("mps")
        lm.engine = type(lm.engine)(replace(lm.engine.child, device=lm.device))
        lm.steer(lm.plan)
        assert lm.generate_until(requests) == expected.generate_until(requests)
        assert lm.loglikelihood(scorings(LONG)) == expected.loglikelihood(scorings(LONG))
        assert lm.get_model_info()["steering"]["doses"] == expected.get_model_info()["steering"]["doses"]
    assert devices.made[torch.device("mps")]
