"""Sites of a vLLM model, on a decoder made here: every site under every operator, side by side in one pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lm_eval_steer.engines.reference import OPERATORS as PLAIN
from lm_eval_steer.engines.vllm.anchors import contributions
from lm_eval_steer.engines.vllm.blocks import BlockSteering, find_decoder
from lm_eval_steer.interventions.intervention import Edit, Intervention, intervene
from lm_eval_steer.interventions.operators import OF_THE_FILE, OPERATORS
from lm_eval_steer.sites import SITES

WIDTH, HEADS, HEAD, DEPTH = 12, 4, 5, 2
At = Callable[[str, int, Tensor], Tensor]


class Projection(nn.Module):
    """An output projection that may hold some of the heads, as on one of several ranks."""

    def __init__(self, rank: int, size: int) -> None:
        super().__init__()
        self.input_size, self.input_size_per_partition, self.tp_rank = HEADS * HEAD, HEADS * HEAD // size, rank
        self.layer = nn.Linear(HEADS * HEAD, WIDTH)

    def forward(self, heads: Tensor) -> tuple[Tensor, None]:
        first = self.tp_rank * self.input_size_per_partition
        weight = self.layer.weight[:, first : first + self.input_size_per_partition]
        return heads @ weight.T + self.layer.bias, None


class Attention(nn.Module):
    def __init__(self, rank: int = 0, size: int = 1) -> None:
        super().__init__()
        self.qkv, self.o_proj = nn.Linear(WIDTH, HEADS * HEAD), Projection(rank, size)

    def forward(self, positions: Tensor, hidden_states: Tensor) -> Tensor:
        mixed = torch.tanh(self.qkv(hidden_states))
        here = self.o_proj.input_size_per_partition
        first = self.o_proj.tp_rank * here
        out: Tensor = self.o_proj(mixed[..., first : first + here])[0]
        return out


class Mlp(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.layer(x))


class Plain(nn.Module):
    """A block that gives (hidden, residual), as Llama's."""

    scale = 1.0

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        super().__init__()
        self.input_layernorm, self.self_attn = nn.LayerNorm(WIDTH), Attention(rank, size)
        self.post_attention_layernorm, self.mlp = nn.LayerNorm(WIDTH), Mlp()

    def behind(self, name: str, added: Tensor) -> Tensor:
        """What attention or MLP add, given the module's output."""
        return added

    def before_mlp(self, hidden: Tensor) -> Tensor:
        normed: Tensor = self.post_attention_layernorm(hidden)
        return normed

    def forward(self, positions: Tensor, hidden_states: Tensor, residual: Tensor | None) -> Any:
        residual = hidden_states if residual is None else hidden_states + residual
        added = self.self_attn(positions=positions, hidden_states=self.input_layernorm(residual))
        residual = residual + self.behind("attention", added)
        return self.behind("mlp", self.mlp(self.before_mlp(residual))), residual


class Normed(Plain):
    """One with norms behind what is added, as Gemma-2's."""

    def __init__(self) -> None:
        super().__init__()
        self.pre_feedforward_layernorm, self.post_feedforward_layernorm = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)

    def behind(self, name: str, added: Tensor) -> Tensor:
        norm = self.post_attention_layernorm if name == "attention" else self.post_feedforward_layernorm
        normed: Tensor = norm(added)
        return normed

    def before_mlp(self, hidden: Tensor) -> Tensor:
        normed: Tensor = self.pre_feedforward_layernorm(hidden)
        return normed


class Scaled(Plain):
    """One that multiplies what is added, and gives its state beside a stale tensor, as GraniteMoeHybrid's."""

    residual_multiplier = 0.5

    def behind(self, name: str, added: Tensor) -> Tensor:
        return added * self.residual_multiplier

    def forward(self, positions: Tensor, hidden_states: Tensor, residual: Tensor | None) -> Any:
        residual = hidden_states + self.behind(
            "attention", self.self_attn(positions, self.input_layernorm(hidden_states))
        )
        return residual + self.behind("mlp", self.mlp(self.before_mlp(residual))), residual


class Model(nn.Module):
    def __init__(self, kind: type[Plain], **given: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleList([kind(**given) for _ in range(DEPTH)])
        self.norm = nn.LayerNorm(WIDTH)
        self.stale = kind is Scaled

    def forward(self, hidden: Tensor) -> Tensor:
        residual = None
        for layer in self.layers:
            hidden, residual = layer(torch.arange(len(hidden)), hidden, residual)
        normed: Tensor = self.norm(hidden if self.stale or residual is None else hidden + residual)
        return normed

    def by_hand(self, hidden: Tensor, at: At) -> Tensor:
        """The same, with a call where each site is."""
        for number, layer in enumerate(self.layers):
            block: Any = layer
            hidden = at("block_input", number, hidden)
            mixed = torch.tanh(block.self_attn.qkv(block.input_layernorm(hidden)))
            heads = at("heads", number, mixed.view(-1, HEADS, HEAD)).flatten(1)
            added = block.behind("attention", block.self_attn.o_proj.layer(heads))
            hidden = hidden + at("attention", number, added)
            hidden = hidden + at("mlp", number, block.behind("mlp", block.mlp(block.before_mlp(hidden))))
            hidden = at("block", number, hidden)
        return at("final_norm", 0, self.norm(hidden))


def direction(site: str, seed: int, operator: str) -> np.ndarray:
    shape = (HEADS, HEAD) if SITES[site].by_head else (WIDTH,)
    drawn = np.random.default_rng(seed).normal(size=(2, *shape)).astype(np.float32) / 3
    several = {1: drawn[0], 2: np.stack([*drawn], axis=-2), OF_THE_FILE: np.stack([*drawn, *drawn, drawn[0]], axis=-2)}
    return several[OPERATORS[operator].directions]


def every(site: str) -> list[Intervention]:
    """One for each operator, and a dose."""
    block = 1 if SITES[site].in_blocks else 0
    strengths = {"length": 0.75, "share": 0.5, "angle": 40.0}
    found = [
        intervene([Edit(block, name, direction(site, number, name), strengths[OPERATORS[name].strength], site)])
        for number, name in enumerate(PLAIN)
    ]
    return [*found, intervene([Edit(block, "add", direction(site, 99, "add"), 0.3, site)], unit="dose")]


def change(one: Intervention) -> At:
    """What an intervention does to one token, by the oracle's arithmetic."""

    def at(site: str, block: int, hidden: Tensor) -> Tensor:
        for edit in one.edits:
            if (edit.site, edit.block) == (site, block):
                rows, v = hidden[0].reshape(-1, hidden.shape[-1]), torch.from_numpy(edit.direction).double()
                v = v.reshape(len(rows), *v.shape[SITES[site].by_head :])
                after = []
                for row, own in zip(rows, v, strict=True):
                    length = row.norm() / own.norm() if one.unit == "dose" else 1.0
                    strength = edit.strength * length * torch.ones(1, 1, dtype=torch.float64)
                    after.append(PLAIN[edit.operator](row[None], strength, own))
                return torch.cat(after).reshape(hidden.shape)
        return hidden

    return at


def steer(model: Model, interventions: list[Intervention]) -> BlockSteering:
    steering = BlockSteering(find_decoder(model, DEPTH), interventions, device=torch.device("cpu"))
    steering.stale = set(range(DEPTH)) if model.stale else set()
    return steering


@pytest.mark.parametrize("kind", [Plain, Normed, Scaled])
def test_every_site_under_every_operator_in_one_pass(kind: type[Plain]) -> None:
    interventions = [one for site in SITES for one in every(site)]
    interventions.append(intervene([edit for site in SITES for edit in every(site)[0].edits]))
    model = Model(kind).double().requires_grad_(False)
    index = torch.arange(len(interventions) + 1)
    hidden = torch.randn(len(index), WIDTH, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    wanted = [model.by_hand(hidden[:1], lambda site, block, here: here)]
    wanted += [model.by_hand(hidden[i : i + 1], change(interventions[i - 1])) for i in index[1:].tolist()]
    plain = model(hidden)
    steering = steer(model, interventions)
    assert torch.equal(model(hidden), plain)
    steering.probing = True
    steering.begin(index, frozenset(range(len(interventions))))
    got = model(hidden)
    steering.end()
    torch.testing.assert_close(got, torch.cat(wanted), rtol=1e-5, atol=1e-5)
    assert torch.equal(got[0], plain[0])
    assert int((got != plain).any(dim=1).sum()) > 0.8 * len(index)  # set_at_least and set_at_most may leave a token
    assert set(steering.applied.values()) == {len(every("mlp")) + 1}
    assert all(seen.untouched and seen.shift > 0 for seen in steering.probes.values())
    steering.remove()
    assert torch.equal(model(hidden), plain)


def test_ranks_steer_the_heads_that_they_hold() -> None:
    """Their parts of the contribution of attention come to what one rank has."""
    interventions = every("heads")
    index = torch.arange(len(interventions) + 1)
    hidden = torch.randn(len(index), WIDTH, generator=torch.Generator().manual_seed(1))
    added, sums = [], []
    for rank, size in ((0, 1), (0, 2), (1, 2)):
        model = Model(Plain, rank=rank, size=size)
        attention: Any = model.layers[1].self_attn
        steering = steer(model, interventions)
        steering.begin(index, frozenset(range(len(interventions))))
        added.append(attention(index, hidden) - attention.o_proj.layer.bias)
        steering.end()
        sums.append(torch.tensor(steering.doses.sums()["heads.1"]))
    torch.testing.assert_close(added[1] + added[2], added[0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close((sums[1] + sums[2])[2:], sums[0][2:], rtol=1e-4, atol=1e-4)
    assert all(of_rank[0].tolist() == [1] * len(interventions) for of_rank in sums)


def test_what_a_model_does_not_have_is_one_sentence() -> None:
    model = Model(Plain)
    for site, shape, words in (
        ("heads", (HEADS + 1, HEAD), r"heads of block 1 is 20 wide, and the direction is for 5 heads of 5"),
        ("mlp", (WIDTH,), r"Plain in vLLM has no one module that is mlp of block 1; it has input_layernorm, self_attn"),
    ):
        del model.layers[1].mlp
        with pytest.raises(ValueError, match=words):
            steer(model, [intervene([Edit(1, "add", np.ones(shape, dtype=np.float32), 1.0, site)])])
        model.layers[1].mlp = Mlp()
    with pytest.raises(ValueError, match="a compiled model is steered at the outputs of its blocks, and this run"):
        BlockSteering(find_decoder(model, DEPTH), every("mlp"), device=torch.device("cpu"), traced=True)


def test_contributions_are_found_by_what_stands_behind_them() -> None:
    for kind, behind in ((Plain, [Attention, Mlp]), (Normed, [nn.LayerNorm] * 2)):
        found = contributions(Model(kind).layers[0])
        assert [type(anchor.module) for (anchor,) in found] == behind
    assert [anchor.scale for (anchor,) in contributions(Model(Scaled).layers[0])] == [0.5, 0.5]
