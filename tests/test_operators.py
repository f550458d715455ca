"""Operators: ours by hand, by what they promise and by weights that do the same; those that a program adds."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.models.hf_steered import SteeredModel
from torch import Tensor, nn

import models
from conftest import make_vector
from lm_eval_steer.engines.hf.blocks import find_blocks
from lm_eval_steer.engines.hf.hooks import Steerer
from lm_eval_steer.interventions.operators import OPERATORS, Operator
from lm_eval_steer.interventions.operators.low_rank import as_rows
from lm_eval_steer.models.hf import SteeredHF
from steerings import steering

BLOCK = 1
PAIRS = [("the sun", " rises in the"), ("a longer sentence about", " nothing"), ("w", " 3 + 4 = 7")]


def replace(hidden: Tensor, strength: Tensor, direction: Tensor) -> Tensor:
    """h' = α·v, whatever h is."""
    return (strength * direction).expand_as(hidden).to(hidden.dtype)


@pytest.fixture
def added() -> Iterator[None]:
    OPERATORS.add("replace", Operator(replace, acts=lambda strength: True, is_shift=False))
    yield
    OPERATORS.remove("replace")


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
    arguments = {"vectors": make_vector(), "operator": "replace", "layers": BLOCK, "tokens": "prompt"}
    lm = make(alpha=alpha, **arguments)
    assert scores(lm) == pytest.approx(by_hand(alpha), abs=1e-4)
    assert scores(lm) != pytest.approx(scores(make(alpha=0)), abs=1e-2)
    info = lm.get_model_info()["steering"]
    assert info["operator"] == "replace"
    assert info["application"]["steered"] == info["application"]["implied"]


def test_normalize_is_the_operator_that_keeps_the_norm() -> None:
    both = [{"normalize": True}, {"operator": "add_keep_norm"}]
    one, other = (scores(make(vectors=make_vector(), alpha=3, **given)) for given in both)
    assert one == other
    assert one != scores(make(vectors=make_vector(), alpha=3))


# Ours, by hand

ONE_DIRECTION = [name for name in OPERATORS if OPERATORS[name].directions == 1]

H = torch.tensor([[[3.0, 4.0]]])  # of length 5, 36.87 degrees from the second axis
ANGLE = math.degrees(math.atan2(3, 4))


@pytest.mark.parametrize(
    ("operator", "strength", "expected"),
    [
        ("ablate", 1, [3, 0]),
        ("ablate", 0.25, [3, 3]),
        ("set", 7, [3, 7]),
        ("set", 0, [3, 0]),
        ("set_at_least", 6, [3, 6]),
        ("set_at_least", 1, [3, 4]),
        ("set_at_most", 1, [3, 1]),
        ("set_at_most", 6, [3, 4]),
        ("turn", ANGLE, [0, 5]),
        ("turn", ANGLE - 90, [5, 0]),
        ("turn", ANGLE + 90, [-5, 0]),
        ("slerp", 1, [0, 5]),
        ("slerp", 0.5, [5 * 0.1**0.5, 15 * 0.1**0.5]),
        ("slerp", -1, [4.8, 1.4]),
    ],
)
@pytest.mark.parametrize("length", [1.0, 4.0])
def test_operators_by_hand(operator: str, strength: float, expected: list[float], length: float) -> None:
    """Along the second axis. The strength of a length counts in lengths of v."""
    entry = OPERATORS[operator]
    told = torch.tensor([[[strength / length if entry.strength == "length" else strength]]])
    found = entry.apply(H, told, torch.tensor([0.0, length]))
    assert found[0, 0].tolist() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("operator", ["ablate", "set", "set_at_least", "set_at_most", "rotate_to"])
def test_what_is_reached_is_kept(operator: str) -> None:
    """A second time changes nothing."""
    h, v, w = torch.randn(3, 5, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    directions = torch.stack([v[0], w[0]]) if OPERATORS[operator].directions == 2 else v[0]
    strength = torch.full((5, 1), 1.0 if operator == "ablate" else 0.0)
    once = OPERATORS[operator].apply(h, strength, directions)
    assert not torch.allclose(once, h, atol=1e-3)
    assert torch.allclose(OPERATORS[operator].apply(once, strength, directions), once, atol=1e-10)


@pytest.mark.parametrize(("along", "more"), [(-1.0, 2.0), (-0.5, 1.5), (0.0, 1.0), (0.8, 1.0)])
def test_icv_takes_more_where_the_state_points_away(along: float, more: float) -> None:
    h = torch.tensor([[[(1 - along**2) ** 0.5 * 5, along * 5]]])
    direction = torch.tensor([0.0, 2.0])
    one, other = (
        OPERATORS[name].apply(h, torch.tensor([[[strength]]]), direction)
        for name, strength in (("icv", 0.3), ("add_keep_norm", 0.3 * more))
    )
    assert torch.allclose(one, other, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_low_rank_is_loreft_and_leace(dtype: torch.dtype) -> None:
    """Their own formulas with whole matrices: h + Rᵀ(Wh + b - Rh), and x - P(x - μ)."""
    draw = torch.Generator().manual_seed(0)
    h = torch.randn(2, 5, 16, generator=draw, dtype=dtype)
    weight, bias = torch.randn(3, 16, generator=draw, dtype=dtype), torch.randn(3, generator=draw, dtype=dtype)
    rotation = torch.linalg.qr(torch.randn(16, 3, generator=draw, dtype=dtype))[0]  # R transposed
    told = torch.full((2, 5, 1), 0.5, dtype=dtype)
    loreft = as_rows(*(one.numpy() for one in (weight.T - rotation, bias, rotation)))
    found = OPERATORS["low_rank"].apply(h, told, torch.from_numpy(loreft))
    wanted = h + 0.5 * (h @ weight.T + bias - h @ rotation) @ rotation.T
    assert torch.allclose(found, wanted, atol=1e-5)
    assert torch.equal(OPERATORS["low_rank"].apply(h, 0 * told, torch.from_numpy(loreft)), h)

    left, right, mean = (torch.randn(size, generator=draw, dtype=dtype) for size in ((16, 2), (2, 16), (16,)))
    leace = as_rows(*(one.numpy() for one in (-right.T, right @ mean, left)))
    found = OPERATORS["low_rank"].apply(h, torch.ones_like(told), torch.from_numpy(leace))
    assert torch.allclose(found, h - (h - mean) @ (left @ right).T, atol=1e-4)


def test_low_rank_has_the_others_as_special_cases() -> None:
    h = torch.randn(2, 5, 32, generator=torch.Generator().manual_seed(0))
    v, told = make_vector().directions[0], torch.full((2, 5, 1), 0.7)
    column = v[:, None]
    cases = {"add": (0 * column, np.ones(1), column), "ablate": (-column, np.zeros(1), column)}
    for name, parts in cases.items():
        found = OPERATORS["low_rank"].apply(h, told, torch.from_numpy(as_rows(*parts)))
        assert torch.allclose(found, OPERATORS[name].apply(h, told, torch.from_numpy(v)), atol=1e-5)


@pytest.mark.parametrize("operator", ["turn", "slerp"])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_what_lies_along_the_direction_has_no_plane_to_turn_in(operator: str, sign: float) -> None:
    v = torch.randn(64, generator=torch.Generator().manual_seed(0))
    found = OPERATORS[operator].apply(sign * v[None], torch.tensor([[0.5]]), v)
    assert torch.equal(found[0], sign * v)


H3 = torch.tensor([[[3.0, 4.0, 7.0]]])


@pytest.mark.parametrize(
    ("operator", "strength", "expected"),
    [
        ("rotate", 90, [-4, 3, 7]),
        ("rotate", -180, [-3, -4, 7]),
        ("rotate", ANGLE, [3 * 0.8 - 4 * 0.6, 3 * 0.6 + 4 * 0.8, 7]),
        ("rotate_to", 0, [5, 0, 7]),
        ("rotate_to", 90, [0, 5, 7]),
        ("rotate_to", 270, [0, -5, 7]),
        ("swap", 1, [0, 7, 7]),
        ("swap", 0.5, [1.5, 5.5, 7]),
    ],
)
def test_operators_of_two_directions_by_hand(operator: str, strength: float, expected: list[float]) -> None:
    """Along the first axis, and from there to the second."""
    told = torch.tensor([[[float(strength)]]])
    found = OPERATORS[operator].apply(H3, told, torch.eye(3)[:2])
    assert found[0, 0].tolist() == pytest.approx(expected, abs=1e-5)
    if operator != "swap":  # a plane, however it is spanned, and on which side of it
        found = OPERATORS[operator].apply(H3, told, torch.tensor([[2.0, 0, 0], [5, 3, 0]]))
        assert found[0, 0].tolist() == pytest.approx(expected, abs=1e-5)


def first(output: Any) -> Tensor:
    return output[0] if isinstance(output, tuple) else output


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2", "falcon"])
@pytest.mark.parametrize("operator", ONE_DIRECTION[1:])
def test_outputs_of_blocks_are_what_the_operator_promises(family: str, operator: str) -> None:
    """Read behind a block that is steered alone, without a formula of the operator."""
    model = models.make_model(family)
    direction = make_vector().directions[BLOCK]
    strength = {"length": 0.8, "share": 0.25, "angle": 20.0}[OPERATORS[operator].strength]
    seen: list[Tensor] = []
    ids, mask = torch.tensor([[65, 66, 67, 68], [70, 71, 72, 73]]), torch.ones(2, 4, dtype=torch.bool)
    block = find_blocks(model)[BLOCK]
    block.register_forward_hook(lambda module, args, output: seen.append(first(output).double()))
    with torch.no_grad():
        model(ids)
        with Steerer(model, [steering({BLOCK: direction}, strength, operator)]).scoring([0, 0], mask):
            block.register_forward_hook(lambda module, args, output: seen.append(first(output).double()))
            model(ids)
    before, after = seen[0], seen[-1]
    v = torch.from_numpy(direction).double()
    was, now = before @ v, after @ v
    wanted = {
        "ablate": 0.75 * was,
        "set": torch.full_like(was, 0.8),
        "set_at_least": was.clamp_min(0.8),
        "set_at_most": was.clamp_max(0.8),
    }
    if operator in wanted:
        assert torch.allclose(now, wanted[operator], atol=1e-5)
        across = before - was[..., None] * v
        assert torch.allclose(after - now[..., None] * v, across, atol=1e-4)
        return
    length = before.norm(dim=-1)
    assert torch.allclose(after.norm(dim=-1), length, rtol=1e-5)
    if operator in ("add_keep_norm", "icv"):  # a turn towards v, whose angle the share of the norm says
        cosine, dose = was / length, 0.8 / length
        dose = dose * (1 + (-cosine).clamp_min(0)) if operator == "icv" else dose
        angle = torch.atan2((1 - cosine**2).sqrt(), cosine + dose)
        assert torch.allclose(now / length, angle.cos(), atol=1e-5)
        return
    angles = torch.rad2deg(torch.acos(was / length)), torch.rad2deg(torch.acos(now / length))
    turned = 0.25 * angles[0] if operator == "slerp" else torch.full_like(was, 20.0)
    assert torch.allclose(angles[0] - angles[1], turned, atol=1e-2)
    plane = torch.stack([before, v.expand_as(before), after], dim=-2)
    assert float(torch.linalg.svdvals(plane)[..., -1].max()) < 1e-3  # in the plane of h and v


@pytest.mark.parametrize("family", ["gpt_neox", "falcon"])
def test_ablation_equals_weights_that_write_nothing_along_the_direction(family: str) -> None:
    """Where attention and MLP read the same state, as in these families, the outputs of blocks are all that is read.
    Embeddings are written before the first block, so they are without the direction on both sides."""
    v = torch.from_numpy(make_vector().directions[0])
    ours, theirs = (models.make_model(family) for _ in range(2))
    for parameter in (one for name, one in ours.named_parameters() if "bias" in name):
        torch.nn.init.normal_(parameter, std=0.25, generator=torch.Generator().manual_seed(1))
    theirs.load_state_dict(ours.state_dict())
    for model in (ours, theirs):
        head = model.get_output_embeddings()
        head.weight = nn.Parameter(head.weight.detach().clone())  # which reads, and may be the embeddings' own
        embeddings = model.get_input_embeddings().weight
        embeddings.data -= torch.outer(embeddings.data @ v, v)
    for name, parameter in theirs.named_parameters():
        if name.endswith(("dense.weight", "dense_4h_to_h.weight", "dense.bias", "dense_4h_to_h.bias")):
            parameter.data -= torch.outer(v, v @ parameter.data) if parameter.dim() == 2 else v * (v @ parameter.data)
    ids, mask = torch.tensor([[65, 66, 67, 68, 69]]), torch.ones(1, 5, dtype=torch.bool)
    one = steering(dict.fromkeys(range(models.DEPTH), v.numpy()), 1.0, "ablate")
    with torch.no_grad():
        plain, weights = ours(ids).logits, theirs(ids).logits
        with Steerer(ours, [one]).scoring([0], mask):
            steered = ours(ids).logits
    assert torch.allclose(steered, weights, atol=2e-4)
    assert not torch.allclose(steered, plain, atol=0.1)


def test_set_equals_the_clamp_of_the_harness(tmp_path: Path) -> None:
    """Where there is no padding, which `steered` clamps, too."""
    vector = make_vector()
    lm = make(vectors=vector, alpha=-0.7, operator="set")
    names = {id(module): name for name, module in lm.model.base_model.named_modules()}
    config = {
        names[id(block)]: {
            "steering_vector": torch.from_numpy(3 * direction),  # brought to length 1 there
            "steering_coefficient": -0.7,
            "action": "clamp",
            "bias": None,
            "head_index": None,
        }
        for block, direction in zip(find_blocks(lm.model), vector.directions, strict=True)
    }
    torch.save(config, tmp_path / "clamp.pt")
    harness = SteeredModel(
        pretrained=models.make_model("llama"), tokenizer=models.make_tokenizer(), batch_size=1,
        steer_path=str(tmp_path / "clamp.pt"),
    )  # fmt: skip
    assert scores(lm) == pytest.approx(scores(harness), abs=1e-4)
    request = Instance("generate_until", {}, ("the sun", {"until": ["\n\n"], "max_gen_toks": 12}), 0)
    assert lm.generate_until([request]) == harness.generate_until([request])
