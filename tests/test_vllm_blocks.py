"""Steering of blocks as vLLM calls them, on blocks made here: tokens of all requests in one row, sums in two parts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lm_eval_steer.engines.vllm import blocks as vllm_blocks
from lm_eval_steer.engines.vllm.anchors import parts
from lm_eval_steer.engines.vllm.blocks import BlockSteering, find_decoder, find_layers
from lm_eval_steer.interventions.intervention import Edit, Intervention, intervene
from lm_eval_steer.interventions.operators import OF_THE_FILE, OPERATORS, Operator
from lm_eval_steer.interventions.units import share_of_norm, size_of

WIDTH, TOKENS = 8, 5
DIRECTIONS = {
    block: np.random.default_rng(block).normal(size=WIDTH).astype(np.float32) / 3 for block in range(3)
}  # fmt: skip
STRENGTHS = np.array([[1.0, 2.0, 0.0], [-0.5, 0.25, 4.0]], dtype=np.float32)
INDEX = torch.tensor([1, 0, 2, 1, 0])  # 1 + row of each token; 0 is none


class PPMissingLayer(nn.Identity):
    """The name of vLLM's stand-in for a block of another rank."""


class Pair(nn.Module):
    """A block that gives (hidden, residual)."""

    def forward(self, hidden: Tensor, residual: Tensor | None) -> tuple[Tensor, Tensor]:
        whole = hidden if residual is None else hidden + residual
        return torch.tanh(whole) * 2, whole


class Sum(nn.Module):
    """A block that gives the sum itself, in vLLM's transformers backend with a dimension more."""

    def forward(self, hidden: Tensor, residual: Tensor | None) -> Tensor:
        return hidden + torch.tanh(hidden) * 2


class Stale(nn.Module):
    """A block that gives the sum itself, beside what its own sum began with, which nothing reads."""

    def forward(self, hidden: Tensor, residual: Tensor | None) -> tuple[Tensor, Tensor]:
        return hidden + torch.tanh(hidden) * 2, hidden


def whole_of(given: Any, layer: nn.Module) -> Tensor:
    """The output that a block means."""
    if isinstance(layer, Stale):
        return given[0]
    return given if not isinstance(given, tuple) or given[1] is None else given[0] + given[1]


class Model(nn.Module):
    def __init__(self, kind: type[nn.Module], missing: int = 0) -> None:
        super().__init__()
        blocks = [kind() for _ in range(3 - missing)]
        self.layers = nn.ModuleList([PPMissingLayer() for _ in range(missing)] + blocks)

    def forward(self, hidden: Tensor) -> list[Tensor]:
        """The output of every block."""
        outputs, residual = [], None
        for layer in self.layers:
            if isinstance(layer, PPMissingLayer):
                continue
            given: Any = layer(hidden, residual)
            hidden, residual = given if isinstance(given, tuple) else (given, None)
            outputs.append(whole_of(given, layer))
        return outputs


def intervention(row: int, normalize: bool = False, share: bool = False, **more: Any) -> Intervention:
    """Of a row of the table of strengths."""
    operator = "add_keep_norm" if normalize else "add"
    edits = (Edit(block, operator, DIRECTIONS[block], float(STRENGTHS[row, block])) for block in range(3))
    return intervene(edits, unit="dose" if share else "length", **more)


def steer(model: Model, *, normalize: bool = False, share: bool = False, traced: bool = False) -> BlockSteering:
    return hold(model, [intervention(row, normalize, share) for row in range(2)], traced)


def hold(model: Model, interventions: list[Intervention], traced: bool = False) -> BlockSteering:
    decoder = find_decoder(model, len(model.layers))
    steering = BlockSteering(decoder, interventions, device=torch.device("cpu"), traced=traced)
    steering.stale = {block for block, layer in enumerate(model.layers) if isinstance(layer, Stale)}
    return steering


def by_hand(model: Model, hidden: Tensor, normalize: bool, share: bool) -> list[Tensor]:
    """The same, one block at a time with the operators of the other engine."""
    outputs = []
    for block, layer in enumerate(model.layers):
        whole = whole_of(layer(hidden, None), layer)
        table = torch.from_numpy(np.concatenate([np.zeros((1, 3), dtype=np.float32), STRENGTHS]))
        strength, direction = table[INDEX, block, None], torch.from_numpy(DIRECTIONS[block])
        if share:
            strength = share_of_norm(whole, strength, size_of(direction))
        hidden = OPERATORS["add_keep_norm" if normalize else "add"].apply(whole, strength, direction)
        outputs.append(hidden)
    return outputs


@pytest.mark.parametrize("share", [False, True])
@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize(
    ("kind", "shape"), [(Pair, (TOKENS,)), (Sum, (TOKENS,)), (Sum, (1, TOKENS)), (Stale, (TOKENS,))]
)
def test_every_token_gets_its_own_strength(
    kind: type[nn.Module], shape: tuple[int, ...], normalize: bool, share: bool
) -> None:
    model = Model(kind)
    hidden = torch.randn(*shape, WIDTH, generator=torch.Generator().manual_seed(1))
    wanted = by_hand(model, hidden.reshape(TOKENS, WIDTH), normalize, share)
    plain = model(hidden)
    steering = steer(model, normalize=normalize, share=share)
    assert all(torch.equal(a, b) for a, b in zip(model(hidden), plain, strict=True))  # no pass was announced
    steering.probing = True
    steering.begin(INDEX, frozenset({0, 1}))
    outputs = model(hidden)
    steering.end()
    for got, expected in zip(outputs, wanted, strict=True):
        torch.testing.assert_close(got.reshape(TOKENS, WIDTH), expected, rtol=1e-5, atol=1e-5)
    assert steering.applied == {0: 3, 1: 3, 2: 1}
    for block, seen in steering.probes.items():
        assert seen.untouched
        assert seen.shift > 0
        assert seen.error <= (16 if normalize else 1)
        assert seen.passed_on is (None if block == 2 else True)
    steering.remove()
    assert all(torch.equal(a, b) for a, b in zip(model(hidden), plain, strict=True))


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("kind", [Pair, Sum, Stale])
def test_blocks_that_ask_for_it_are_steered_in_place(kind: type[nn.Module], normalize: bool) -> None:
    model = Model(kind)
    hidden = torch.randn(TOKENS, WIDTH, generator=torch.Generator().manual_seed(1))
    wanted = by_hand(model, hidden, normalize, share=False)
    plain = model(hidden)

    def ask(block: int) -> Any:
        def call(module: nn.Module, args: Any, output: Any) -> None:
            if vllm_blocks.announced is not None:
                vllm_blocks.announced.steer_in_place(block, *parts(output))

        return call

    for block, layer in enumerate(model.layers):
        layer.register_forward_hook(ask(block))
    steering = steer(model, normalize=normalize, traced=True)
    assert all(torch.equal(a, b) for a, b in zip(model(hidden), plain, strict=True))
    steering.probing = True
    steering.begin(INDEX, frozenset({0, 1}))
    outputs = model(hidden)
    steering.end()
    for got, expected in zip(outputs, wanted, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)
    assert steering.applied == {0: 3, 1: 3, 2: 1}
    assert [steering.probes[block].passed_on for block in range(3)] == [True, True, None]
    assert vllm_blocks.announced is None


def test_the_probe_sees_what_another_hook_takes_away() -> None:
    model = Model(Pair)
    steering = steer(model)
    model.layers[0].register_forward_hook(lambda module, args, output: (output[0].clone(), output[1]))
    steering.probing = True
    steering.begin(INDEX, frozenset({0, 1}))
    model(torch.randn(TOKENS, WIDTH))
    assert steering.probes[0].passed_on is False
    assert steering.probes[1].passed_on is True


def test_blocks_of_other_ranks_are_left_out() -> None:
    model = Model(Pair, missing=2)
    steering = steer(model)
    steering.begin(INDEX, frozenset({0, 1}))
    model(torch.randn(TOKENS, WIDTH))
    steering.end()
    assert steering.applied == {2: 1}


def test_a_block_that_runs_twice_in_a_pass_is_counted_twice() -> None:
    model = Model(Pair)
    steering = steer(model)
    for expected in ({0: 3, 1: 3, 2: 1}, {0: 9, 1: 6, 2: 2}):
        steering.begin(INDEX, frozenset({0, 1}))
        model(torch.randn(TOKENS, WIDTH))
        if expected[0] == 9:
            model.layers[0](torch.randn(TOKENS, WIDTH), None)
        steering.end()
        assert steering.applied == expected


def test_doses_are_told_apart_by_row() -> None:
    model = Model(Pair)
    steering = steer(model)
    steering.begin(INDEX, frozenset({0, 1}))
    model(torch.randn(TOKENS, WIDTH))
    first, second = steering.doses.report()
    assert {block: seen["positions"] for block, seen in first.items()} == {"0": 2, "1": 2}
    assert {block: seen["positions"] for block, seen in second.items()} == {"0": 1, "1": 1, "2": 1}
    assert all(seen["survival"] == pytest.approx(1.0, abs=1e-3) for row in (first, second) for seen in row.values())


def test_every_strength_is_measured_when_it_first_occurs_and_seldom_from_then_on() -> None:
    model = Model(Pair)
    steering = steer(model)
    counts = []
    for row in (0, 0, 1, *[0] * 12, 1, 0, 0):
        steering.begin(torch.full((TOKENS,), row + 1), frozenset({row}))
        model(torch.randn(TOKENS, WIDTH))
        counts.append([seen["1"]["positions"] if seen else 0 for seen in steering.doses.report()])
    assert [counts[passed] for passed in (0, 1, 2, 15, 16, 17)] == [[5, 0], [5, 0], [5, 5], [5, 5], [10, 5], [10, 5]]


def test_doses_of_a_long_prompt_are_measured_on_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vllm_blocks, "SAMPLED", 4)
    model = Model(Pair)
    steering = steer(model)
    hidden = torch.randn(11, WIDTH)
    steering.begin(torch.tensor([0, *[1] * 10]), frozenset({0}))
    model(hidden)
    plain = torch.tanh(hidden) * 2 + hidden
    (seen,) = (row["0"] for row in steering.doses.report() if row)
    taken = [1, 4, 7, 10]  # of the tokens 1 to 10 every third
    assert seen["positions"] == len(taken)
    length = np.linalg.norm(DIRECTIONS[0]) * STRENGTHS[0, 0]
    assert seen["dose"] == pytest.approx(float((length / plain[taken].norm(dim=-1)).mean()), rel=1e-5)


def test_a_batch_of_another_size_is_refused() -> None:
    model = Model(Pair)
    steering = steer(model)
    steering.begin(INDEX, frozenset({0, 1}))
    with pytest.raises(RuntimeError, match=r"block 0 is \[7, 8\] for 5 tokens"):
        model(torch.randn(7, WIDTH))


def test_the_blocks_are_the_list_of_the_configured_length() -> None:
    model = Model(Pair)
    assert find_layers(model, 3) == list(model.layers) == find_layers(model, 9, "layers")
    with pytest.raises(ValueError, match=r"the 4 decoder blocks of Model in vLLM: 0 lists fit; set blocks= to one of"):
        find_layers(model, 4)
    model.others = nn.ModuleList([Pair() for _ in range(3)])
    with pytest.raises(ValueError, match="2 lists fit"):
        find_layers(model, 3)
    assert find_layers(model, 3, "others") == list(model.others)


@pytest.mark.parametrize("kind", [Pair, Sum, Stale])
def test_vectors_operators_and_units_share_a_pass(kind: type[nn.Module]) -> None:
    """Each token as if it were alone under its own intervention; two vectors, all operators, two units."""
    model = Model(kind)
    other = {block: -2 * direction[::-1].copy() for block, direction in DIRECTIONS.items()}
    plane = np.stack([other[1], DIRECTIONS[0]])
    rows = np.concatenate([plane, plane / 2, DIRECTIONS[2][None]])
    interventions = [
        intervention(0),
        intervention(1, normalize=True),
        intervention(1, share=True),
        intervene([Edit(block, "add", other[block], 0.5) for block in (0, 2)]),
        intervene([Edit(1, "add_keep_norm", other[1], 0.5)], unit="dose"),
        *(
            intervene([Edit(1, name, {1: other[1], 2: plane, OF_THE_FILE: rows}[OPERATORS[name].directions], 0.75)])
            for name in list(OPERATORS)[2:]
        ),
        intervene([Edit(1, "rotate", plane[::-1].copy(), 40.0)]),
    ]
    index = torch.tensor([4, 0, 2, 1, 5, 3, 2, *range(6, len(interventions) + 1)])
    hidden = torch.randn(len(index), WIDTH, generator=torch.Generator().manual_seed(2))
    wanted = [torch.zeros(len(index), WIDTH) for _ in range(3)]
    for token, number in enumerate(index.tolist()):
        alone = hold(model, interventions[number - 1 : number] if number else [])
        alone.begin(torch.tensor([min(number, 1)]), frozenset({0} if number else ()))
        for block, got in enumerate(model(hidden[token : token + 1])):
            wanted[block][token] = got[0]
        alone.end()
        alone.remove()
    steering = hold(model, interventions)
    steering.probing = True
    steering.begin(index, frozenset(number - 1 for number in index.tolist() if number))
    outputs = model(hidden)
    steering.end()
    for got, expected in zip(outputs, wanted, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)
    for seen in steering.probes.values():
        assert seen.untouched
        assert seen.error <= 16

    assert steering.applied == {0: 5, 1: 4 + len(OPERATORS.names), 2: 4}


@pytest.mark.parametrize("kind", [Pair, Sum])
def test_an_operator_may_act_at_strength_0(kind: type[nn.Module]) -> None:
    OPERATORS.add("nothing_left", Operator(lambda h, strength, v: h * 0 + strength * v, lambda strength: True, False))
    try:
        model = Model(kind)
        interventions = [intervene([Edit(1, "nothing_left", DIRECTIONS[1], 0.0)]), intervention(0)]
        hidden = torch.randn(3, WIDTH)
        plain = model(hidden)[1]
        steering = hold(model, interventions)
        steering.begin(torch.tensor([1, 0, 1]), frozenset({0}))
        got = model(hidden)[1]
        steering.end()
    finally:
        OPERATORS.remove("nothing_left")
    assert got.count_nonzero(dim=1).tolist() == [0, WIDTH, 0]
    assert torch.equal(got[1], plain[1])
    assert steering.applied == {0: 0, 1: 2}
