"""What is taken for the state behind a block of vLLM: found by running it, and compared with transformers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_vllm import CONTEXTS, SHAPE, WIDTH, compare, plan, requests, start, start_hf, stop
from torch import Tensor, nn

import models
from lm_eval_steer.engines.vllm.blocks import COMPARED, BlockSteering
from lm_eval_steer.engines.vllm.rows import Steps
from lm_eval_steer.engines.vllm.states import compare_states, settle_states
from lm_eval_steer.engines.vllm.trial import Trial
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.intervention import Edit, intervene

TOKENS = list(range(12))


class Block(nn.Module):
    """A block whose state is `read` of the two tensors that the one before it gave."""

    def __init__(self, gives: str, reads: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self._gives, self._reads = gives, reads

    def forward(self, hidden: Tensor, residual: Tensor) -> Any:
        whole = self._reads(hidden, residual)
        change = torch.tanh(whole.roll(1, -1)) * 2
        if self._gives == "odd":
            return {"hidden": whole}
        return (change, whole) if self._gives == "sum" else (whole + change, whole)


def add(hidden: Tensor, residual: Tensor) -> Tensor:
    return hidden + residual


def first(hidden: Tensor, residual: Tensor) -> Tensor:
    return hidden


class Runner:
    """Stands for a `RowRunner`: the blocks are run here."""

    def __init__(self, gives: list[str]) -> None:
        reads = [{"sum": add, "first": first, "twice": lambda a, b: a + 2 * b}.get(kind, first) for kind in gives]
        self._reads = [add, *reads]
        self.layers = [Block(kind, read) for kind, read in zip(gives, self._reads, strict=False)]
        edits = (Edit(block, "add", np.ones(WIDTH, dtype=np.float32), 1.0) for block in range(1, len(gives)))
        self.blocks = BlockSteering(list(self.layers), [intervene(edits)], device=torch.device("cpu"))

    def begin_trial(self, move: str, blocks: list[int]) -> None:
        self.blocks.trial = Trial(move, blocks, range(COMPARED), self.blocks.stale)

    def end_trial(self, tokens: int) -> list[dict[str, Any]]:
        assert self.blocks.trial is not None
        found, self.blocks.trial = self.blocks.trial.report(tokens), None
        return [found]

    def mark_stale(self, blocks: list[int]) -> None:
        self.blocks.stale = set(blocks)

    def score(self, rows: Any) -> Steps[Any]:
        tokens = torch.randn(len(TOKENS), WIDTH, generator=torch.Generator().manual_seed(0))
        self.blocks.begin(torch.ones(len(TOKENS), dtype=torch.int64), frozenset({0}))
        given: Any = (tokens, torch.zeros_like(tokens))
        for layer in self.layers:
            given = layer(*given) if isinstance(given, tuple) else given
        if isinstance(given, tuple) and self.blocks.trial is not None:
            self.blocks.trial.end(self._reads[len(self.layers)](*given))
        self.blocks.end()
        yield []


@pytest.mark.parametrize(
    ("gives", "stale"),
    [(["sum"] * 3, []), (["first"] * 3, [0, 1, 2]), (["first", "sum", "first"], [0, 2])],
)
def test_which_of_two_tensors_is_the_state_is_found_by_running(gives: list[str], stale: list[int]) -> None:
    runner: Any = Runner(gives)
    states = settle_states(runner, [1, 2], 0, TOKENS)
    assert runner.blocks.stale == set(stale)
    tokens = torch.randn(len(TOKENS), WIDTH, generator=torch.Generator().manual_seed(0))
    for block in range(COMPARED):
        tokens = tokens + torch.tanh(tokens.roll(1, -1)) * 2
        np.testing.assert_allclose(states[block], tokens, rtol=1e-5, atol=1e-5)


def test_what_is_neither_is_refused() -> None:
    runner: Any = Runner(["sum", "twice", "sum"])
    with pytest.raises(SteeringError, match="block 1 gives two tensors in vLLM, and the model goes on with neither"):
        settle_states(runner, [1, 2], 0, TOKENS)
    odd: Any = Runner(["sum", "odd", "odd"])
    with pytest.raises(SteeringError, match="block 1 gives a dict in vLLM for a text of 12 tokens"):
        settle_states(odd, [1], 0, TOKENS)


def test_states_are_compared_with_those_in_transformers(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    folder = str(models.save_model(tmp_path / "model", "gemma2"))
    model = models.make_model("gemma2")
    with torch.no_grad():
        hidden = model(torch.tensor([TOKENS]), output_hidden_states=True).hidden_states
    states = {block: hidden[block + 1][0].numpy() for block in range(COMPARED)}
    compare_states(states, TOKENS, model.config, folder, None)
    assert not caplog.messages
    with pytest.raises(SteeringError, match=r"block 1: its output differs from that in transformers by 100 % "):
        compare_states(states | {1: 2 * states[1]}, TOKENS, model.config, folder, None)
    compare_states({0: 2 * states[0]}, TOKENS, model.config, str(tmp_path / "nowhere"), None)
    compare_states({0: 2 * states[0]}, TOKENS, model.config, folder, "the model is quantised")
    assert [message.split(": ")[0] for message in caplog.messages] == [
        "the states of the blocks were not compared with those in transformers"
    ] * 2


def test_blocks_that_give_their_state_beside_a_stale_tensor(tmp_path: Path) -> None:
    """Cohere's: dose, normalize and what is measured are those of steered-hf."""
    folder = str(models.save_model(tmp_path / "model", "cohere", **SHAPE, num_key_value_heads=1))
    lm, hf = start(folder), start_hf(folder)
    try:
        for number, chosen in enumerate([{"dose": 0.25}, {"alpha": 1.0, "normalize": True}]):
            compare(lm, hf, tmp_path / str(number), chosen, CONTEXTS)
            lm.model.reset_prefix_cache()
            found = []
            for one in (lm, hf):  # a prompt is one pass, of which both measure every position
                one.steer(plan(**chosen))
                one.generate_until(requests(CONTEXTS[:1], max_gen_toks=1))
                (of_run,) = one.get_model_info()["steering"]["doses"].values()
                found.append([block[key] for block in of_run.values() for key in ("positions", "dose")])
            assert found[0] == pytest.approx(found[1], rel=1e-4)
    finally:
        stop(lm)
