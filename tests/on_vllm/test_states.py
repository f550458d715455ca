"""What is taken for the state behind a block of vLLM: found by running it, and compared with transformers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sited import check_sites
from test_vllm import CONTEXTS, SHAPE, WIDTH, compare, plan, requests, start, start_hf, stop
from torch import Tensor, nn

import models
from lm_eval_steer.engines.vllm.rows import Steps
from lm_eval_steer.engines.vllm.states import Settled, compare_states, confirm_states, settle_states
from lm_eval_steer.engines.vllm.trial import Trial
from lm_eval_steer.engines.vllm.worker import COMPARED
from lm_eval_steer.errors import SteeringError

TOKENS = list(range(12))
EMBEDDED = torch.randn(len(TOKENS), WIDTH, generator=torch.Generator().manual_seed(0))


class Turned(nn.Module):
    """Stands for attention or MLP."""

    def __init__(self, by: int) -> None:
        super().__init__()
        self._by = by

    def forward(self, hidden_states: Tensor) -> Tensor:
        return torch.tanh(hidden_states.roll(self._by, -1))


class Block(nn.Module):
    """A block whose state is `read` of the two tensors that the one before it gave."""

    def __init__(self, gives: str, reads: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self._gives, self._reads = gives, reads
        self.self_attn, self.mlp = Turned(1), Turned(2)

    def forward(self, hidden_states: Tensor, residual: Tensor) -> Any:
        whole = self._reads(hidden_states, residual)
        middle = whole + self.self_attn(whole)
        change = self.mlp(middle)
        if self._gives == "odd":
            return {"hidden": whole}
        if self._gives == "half":
            return (middle + change) / 2, None
        return (change, middle) if self._gives == "sum" else (middle + change, middle)


def add(hidden: Tensor, residual: Tensor) -> Tensor:
    return hidden + residual


def first(hidden: Tensor, residual: Tensor) -> Tensor:
    return hidden


READS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "sum": add,
    "first": first,
    "twice": lambda hidden, residual: hidden + 2 * residual,
    "half": lambda hidden, residual: 2 * hidden,
}


class Runner:
    """Stands for a `RowRunner`: the blocks are run here."""

    def __init__(self, gives: list[str]) -> None:
        self._reads = [add, *(READS.get(kind, first) for kind in gives)]
        self.layers = [Block(kind, read) for kind, read in zip(gives, self._reads, strict=False)]
        self.stale: set[int] = set()

    def begin_trial(self, move: str, blocks: list[int]) -> None:
        self._trial = Trial(dict(enumerate(self.layers)), move, blocks, range(COMPARED), self.stale)

    def end_trial(self, tokens: int) -> list[dict[str, Any]]:
        self._trial.close()
        assert not any(layer._forward_hooks or layer.mlp._forward_hooks for layer in self.layers)
        return [self._trial.report(tokens)]

    def mark_stale(self, blocks: list[int]) -> None:
        self.stale = set(blocks)

    def score(self, rows: Any) -> Steps[Any]:
        self._trial.begin(len(TOKENS))
        given: Any = (EMBEDDED, torch.zeros_like(EMBEDDED))
        for layer in self.layers:
            given = layer(*given) if isinstance(given, tuple) else given
        if isinstance(given, tuple):
            self._trial.end(self._reads[len(self.layers)](*given))
        yield []


@pytest.mark.parametrize(
    ("gives", "stale"),
    [(["sum"] * 3, []), (["first"] * 3, [0, 1, 2]), (["first", "sum", "first"], [0, 2])],
)
def test_which_of_two_tensors_is_the_state_is_found_by_running(gives: list[str], stale: list[int]) -> None:
    runner: Any = Runner(gives)
    found = settle_states(runner, [1, 2], 0, TOKENS)
    assert runner.stale == set(stale)
    wanted = EMBEDDED
    for block in range(COMPARED):
        wanted = wanted + torch.tanh(wanted.roll(1, -1))
        wanted = wanted + torch.tanh(wanted.roll(2, -1))
        np.testing.assert_allclose(found.states[block], wanted, rtol=1e-5, atol=1e-5)
    assert list(found.sums) == [0, 1, 2]
    assert max(found.sums.values()) < 1e-5
    confirm_states(found, ())


def test_what_is_neither_is_refused() -> None:
    runner: Any = Runner(["sum", "twice", "sum"])
    with pytest.raises(SteeringError, match="block 1 gives two tensors in vLLM, and the model goes on with neither"):
        settle_states(runner, [1, 2], 0, TOKENS)
    odd: Any = Runner(["sum", "odd", "odd"])
    with pytest.raises(SteeringError, match="block 1 gives a dict in vLLM for a text of 12 tokens"):
        settle_states(odd, [1], 0, TOKENS)


def test_a_state_that_is_not_what_came_together_in_it_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    """Half of the state, which the next block takes twice: what is added to it would count double."""
    caplog.set_level("INFO")
    one: Any = Runner(["first", "sum", "half"])
    found = settle_states(one, [1, 2], 0, TOKENS)
    assert found.apart == [2]
    with pytest.raises(SteeringError, match=r"block 2: what is taken for its output differs from the sum of its input"):
        confirm_states(found, range(COMPARED))
    every: Any = Runner(["half"] * 3)  # perhaps more comes together in this family than is known
    found = settle_states(every, [1, 2], 0, TOKENS)
    assert found.apart == [0, 1, 2]
    confirm_states(found, ())
    assert [message.split(" in vLLM ")[0] for message in caplog.messages] == ["what attention and MLP add"]
    stale: Any = Runner(["first"] * 3)
    settle_states(stale, [1, 2], 0, TOKENS)
    stale.stale.clear()  # as if the second tensor were a part of the state
    stale.begin_trial("nothing", [])
    list(stale.score([]))
    (seen,) = stale.end_trial(len(TOKENS))
    found = Settled({}, seen["sums"], seen["pairs"])
    assert found.apart == [0, 1, 2]
    with pytest.raises(SteeringError, match=r"block 0: what is taken for its output differs from the sum of its input"):
        confirm_states(found, ())


def test_states_are_compared_with_those_in_transformers(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    folder = str(models.save_model(tmp_path / "model", "gemma2"))
    model = models.make_model("gemma2")
    with torch.no_grad():
        hidden = model(torch.tensor([TOKENS]), output_hidden_states=True).hidden_states
    states = {block: hidden[block + 1][0].numpy() for block in range(COMPARED)}
    assert list(compare_states(states, TOKENS, model.config, folder, None)) == [0, 1]
    assert not caplog.messages
    with pytest.raises(SteeringError, match=r"block 1: its output differs from that in transformers by 100 % "):
        compare_states(states | {1: 2 * states[1]}, TOKENS, model.config, folder, None)
    compare_states({0: 2 * states[0]}, TOKENS, model.config, str(tmp_path / "nowhere"), None)
    assert not compare_states({0: 2 * states[0]}, TOKENS, model.config, folder, "the model is quantised")
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
        check_sites(lm, hf, CONTEXTS[:2])
    finally:
        stop(lm)
