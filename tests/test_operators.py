"""Operators that a program adds to the table are named in model arguments and run as ours do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from lm_eval.api.instance import Instance
from torch import Tensor, nn

import models
from conftest import make_vector
from lm_eval_steer.engines.hf.blocks import find_blocks
from lm_eval_steer.interventions.operators import OPERATORS, Operator
from lm_eval_steer.models.hf import SteeredHF

BLOCK = 1
PAIRS = [("the sun", " rises in the"), ("a longer sentence about", " nothing"), ("w", " 3 + 4 = 7")]


def set_to(hidden: Tensor, strength: Tensor, direction: Tensor) -> Tensor:
    """h' = α·v, whatever h is."""
    return (strength * direction).expand_as(hidden).to(hidden.dtype)


@pytest.fixture
def added() -> Iterator[None]:
    OPERATORS.add("set", Operator(set_to, acts=lambda strength: True, is_shift=False))
    yield
    OPERATORS.remove("set")


def make(**arguments: Any) -> SteeredHF:
    return SteeredHF(
        pretrained=models.make_model("llama"), tokenizer=models.make_tokenizer(), batch_size=3, **arguments
    )


def scores(lm: Any) -> list[float]:
    requests = [Instance("loglikelihood", {}, pair, i) for i, pair in enumerate(PAIRS)]
    return [score for score, _ in lm.loglikelihood(requests)]


def by_hand(strength: float) -> list[float]:
    """One text at a time: every context position of the block's output is set."""
    lm = make(alpha=0)
    direction = torch.from_numpy(make_vector().directions[BLOCK])
    found = []
    for context, continuation in PAIRS:
        tokens, wanted = lm._encode_pair(context, continuation)

        def set_context(module: nn.Module, args: Any, output: Any, end: int = len(tokens)) -> Any:
            hidden = output[0] if isinstance(output, tuple) else output
            hidden = hidden.clone()
            hidden[:, :end] = strength * direction
            return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

        handle = find_blocks(lm.model)[BLOCK].register_forward_hook(set_context)
        with torch.no_grad():
            logits = lm.model(torch.tensor([tokens + wanted[:-1]])).logits[0, -len(wanted) :].float()
        handle.remove()
        found.append(float(logits.log_softmax(-1)[range(len(wanted)), wanted].sum()))
    return found


@pytest.mark.usefixtures("added")
@pytest.mark.parametrize("alpha", [0, 2.5])
def test_an_operator_that_is_added_acts_at_every_strength(alpha: float) -> None:
    arguments = {"vectors": make_vector(), "operator": "set", "layers": BLOCK, "tokens": "prompt"}
    lm = make(alpha=alpha, **arguments)
    assert scores(lm) == pytest.approx(by_hand(alpha), abs=1e-4)
    assert scores(lm) != pytest.approx(scores(make(alpha=0)), abs=1e-2)
    info = lm.get_model_info()["steering"]
    assert info["operator"] == "set"
    assert info["application"]["steered"] == info["application"]["implied"]


def test_normalize_is_the_operator_that_keeps_the_norm() -> None:
    both = [{"normalize": True}, {"operator": "add_keep_norm"}]
    one, other = (scores(make(vectors=make_vector(), alpha=3, **given)) for given in both)
    assert one == other
    assert one != scores(make(vectors=make_vector(), alpha=3))
