"""Steerer: what the hooks add, measured as output minus what the block alone would have given."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import models
from lm_eval_steer.engines.hf.blocks import find_blocks
from lm_eval_steer.engines.hf.hooks import Steerer
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.operators import OPERATORS
from steerings import steering

IDS = torch.tensor([[65, 66, 67, 68, 69], [70, 71, 72, 73, 74]])


def directions(blocks: int = models.DEPTH, width: int = models.WIDTH) -> dict[int, np.ndarray]:
    rng = np.random.default_rng(7)
    vectors = rng.normal(size=(blocks, width)).astype(np.float32)
    return dict(enumerate(vectors / np.linalg.norm(vectors, axis=1, keepdims=True)))


def one(model: nn.Module, alpha: float = 1.0) -> Steerer:
    return Steerer(model, [steering(directions(), alpha)])


def two(model: nn.Module) -> Steerer:
    return Steerer(model, [steering(directions(), alpha) for alpha in (1.0, 2.0)])


class Recorder:
    """Hooks on either side of the steering hooks: what a block gave, and what the next one received."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.before: dict[int, list[torch.Tensor]] = {}
        self.after: dict[int, list[torch.Tensor]] = {}

    def attach_before(self) -> None:
        self._attach(self.before)

    def attach_after(self) -> None:
        self._attach(self.after)

    def _attach(self, store: dict[int, list[torch.Tensor]]) -> None:
        for index, block in enumerate(find_blocks(self.model)):
            store[index] = []
            block.register_forward_hook(lambda m, a, out, index=index: store[index].append(_first(out).clone()))


def _first(output: object) -> torch.Tensor:
    return output[0] if isinstance(output, (tuple, list)) else output  # type: ignore[return-value,index]


@pytest.mark.parametrize("family", models.FAMILIES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_shift_is_alpha_v_within_one_rounding_step(family: str, dtype: torch.dtype) -> None:
    model = models.make_model(family).to(dtype)
    recorder = Recorder(model)
    recorder.attach_before()
    vectors = directions()
    steerer = Steerer(model, [steering(vectors, alpha) for alpha in (-2.0, 0.5)])
    mask = torch.tensor([[1, 1, 1, 1, 1], [0, 0, 1, 1, 1]], dtype=torch.bool)
    with torch.no_grad(), steerer.scoring([1, 0], mask):
        recorder.attach_after()  # behind the steering hooks, which are attached by now
        model(IDS)
    for block, v in vectors.items():
        (before,), (after,) = recorder.before[block], recorder.after[block]
        alpha = (torch.tensor([0.5, -2.0])[:, None] * mask)[..., None]
        exact = before.double() + alpha.double() * torch.from_numpy(v).double()
        step = torch.finfo(dtype).eps * exact.abs().clamp_min(torch.finfo(dtype).tiny)
        assert ((after.double() - exact).abs() <= step).all()
        assert torch.equal(after[1, :2], before[1, :2])  # padding, bit for bit


@pytest.mark.parametrize(
    ("tokens", "prefill", "steps"),
    [
        ("all", [[1, 1, 1, 1, 1], [0, 0, 1, 1, 1]], 1),
        ("prompt", [[1, 1, 1, 1, 1], [0, 0, 1, 1, 1]], 0),
        ("generated", [[0, 0, 0, 0, 1], [0, 0, 0, 0, 1]], 1),
        ("last", [[0, 0, 0, 0, 1], [0, 0, 0, 0, 1]], 0),
    ],
)
@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2"])
def test_generation_steers_the_positions_of_the_table(family: str, tokens: str, prefill: list, steps: int) -> None:
    model = models.make_model(family)
    model.generation_config.eos_token_id = None
    recorder = Recorder(model)
    recorder.attach_before()
    attention = torch.tensor([[1, 1, 1, 1, 1], [0, 0, 1, 1, 1]])
    steerer = Steerer(model, [steering(directions(), 3.0, tokens=tokens)])
    with torch.no_grad(), steerer.generating([0, 0], attention):
        recorder.attach_after()
        model.generate(IDS, attention_mask=attention, max_new_tokens=4, do_sample=False)
    for block, v in directions().items():
        passes = [
            (after - before) @ torch.from_numpy(v)
            for before, after in zip(recorder.before[block], recorder.after[block], strict=True)
        ]
        assert len(passes) == 4  # the prompt gives the first token, three passes give the others
        assert torch.allclose(passes[0], 3.0 * torch.tensor(prefill).float(), atol=1e-3)
        for later in passes[1:]:
            assert torch.allclose(later, torch.full((2, 1), 3.0 * steps), atol=1e-3)


def test_rows_that_generate_multiplies_inherit_their_alpha() -> None:
    model = models.make_model("llama")
    recorder = Recorder(model)
    recorder.attach_before()
    with torch.no_grad(), two(model).generating([0, 1], torch.ones_like(IDS)):
        recorder.attach_after()
        model.generate(IDS, attention_mask=torch.ones_like(IDS), max_new_tokens=3, num_beams=2, do_sample=False)
    v = torch.from_numpy(directions()[0])
    shift = (recorder.after[0][-1] - recorder.before[0][-1]) @ v
    assert torch.allclose(shift[:, 0], torch.tensor([1.0, 1.0, 2.0, 2.0]), atol=1e-4)


def test_hooks_leave_no_trace_after_an_exception() -> None:
    model = models.make_model("llama")
    plain = model(IDS).logits
    hooked = {id(m): (len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.modules()}
    steerer = one(model)
    with pytest.raises(RuntimeError, match="boom"), steerer.generating([0, 0], torch.ones_like(IDS)):
        raise RuntimeError("boom")
    with pytest.raises(RuntimeError, match="boom"), steerer.scoring([0, 0], torch.ones(2, 5, dtype=torch.bool)):
        raise RuntimeError("boom")
    assert {id(m): (len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.modules()} == hooked
    assert torch.equal(model(IDS).logits, plain)


def test_a_block_that_is_never_run_is_an_error() -> None:
    model = models.make_model("llama")
    with (
        pytest.raises(SteeringError, match="block 0 was never seen"),
        one(model).scoring([0, 0], torch.ones(2, 5, dtype=torch.bool)),
    ):
        pass


def test_a_block_that_runs_twice_in_a_pass_is_an_error() -> None:
    """A looped model, such as Dory, which would be steered as often as it loops."""
    model: Any = models.make_model("llama")
    first, second = model.model.layers[:2]
    second.forward = first.__call__
    mask = torch.ones(2, 5, dtype=torch.bool)
    with (
        pytest.raises(SteeringError, match=r"block 0 \(LlamaDecoderLayer\) runs several times in one pass"),
        one(model).scoring([0, 0], mask),
    ):
        model(IDS)
    once = {block: v for block, v in directions().items() if block != 0}
    with torch.no_grad(), Steerer(model, [steering(once, 1.0)]).scoring([0, 0], mask):
        model(IDS)


def test_a_pass_of_another_shape_is_an_error() -> None:
    model = models.make_model("llama")
    steerer = one(model)
    with (
        pytest.raises(SteeringError, match=r"returns \[2, 5, 32\], expected \[2, 4, 32\]: set blocks="),
        steerer.scoring([0, 0], torch.ones(2, 4, dtype=torch.bool)),
    ):
        model(IDS)


def test_several_residual_streams_are_an_error() -> None:
    """Hyper-connections, as in DeepSeek-V4."""
    model: Any = models.make_model("llama")
    model.model.layers[0].register_forward_hook(lambda module, args, output: output.unsqueeze(2))
    with (
        pytest.raises(SteeringError, match=r"returns \[2, 5, 1, 32\]: this model keeps several residual streams"),
        one(model).scoring([0, 0], torch.ones(2, 5, dtype=torch.bool)),
    ):
        model(IDS)


def test_peft_is_steered_alike() -> None:
    from peft import LoraConfig, get_peft_model

    mask = torch.ones(2, 5, dtype=torch.bool)
    model = models.make_model("llama")
    with torch.no_grad(), two(model).scoring([0, 1], mask):
        expected = model(IDS).logits
    wrapped = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", r=2)).eval()  # LoRA starts as the identity
    assert len(find_blocks(wrapped)) == models.DEPTH
    with torch.no_grad(), two(wrapped).scoring([0, 1], mask):
        assert torch.allclose(wrapped(IDS).logits, expected, atol=1e-6)
    attention = torch.ones_like(IDS)
    with torch.no_grad(), one(wrapped, 9.0).generating([0, 0], attention):
        steered = wrapped.generate(input_ids=IDS, attention_mask=attention, max_new_tokens=8, do_sample=False)
    plain = wrapped.generate(input_ids=IDS, attention_mask=attention, max_new_tokens=8, do_sample=False)
    assert steered.tolist() != plain.tolist()


def test_operators_by_hand() -> None:
    hidden = torch.tensor([[[3.0, 4.0], [1.0, 0.0]]])
    strength = torch.tensor([[[5.0], [0.0]]])
    direction = torch.tensor([0.0, 1.0])
    assert OPERATORS["add"].apply(hidden, strength, direction).tolist() == [[[3.0, 9.0], [1.0, 0.0]]]
    kept = OPERATORS["add_keep_norm"].apply(hidden, strength, direction)
    assert torch.allclose(kept[0, 0].norm(), torch.tensor(5.0))
    assert torch.allclose(kept[0, 0], torch.tensor([3.0, 9.0]) * 5 / 90**0.5)
    assert kept[0, 1].tolist() == [1.0, 0.0]


def test_add_rounds_once() -> None:
    """1 + 0.004 is nearer to bfloat16's 1.0078 than to 1; adding an α·v rounded before would do the same, but three
    quarters of a step added to a number with an odd last bit shows double rounding."""
    hidden = torch.tensor([[[1.0078125]]], dtype=torch.bfloat16)
    shift = torch.tensor([[[1.0]]])
    exact = 1.0078125 + 0.00390626
    result = OPERATORS["add"].apply(hidden, shift, torch.tensor([0.00390626]))
    nearest = torch.tensor(exact, dtype=torch.float64).to(torch.bfloat16)
    assert result.item() == nearest.item()


class Odd(nn.Module):
    """Two lists of equal length and width: nobody can tell which one is the decoder."""

    def __init__(self) -> None:
        super().__init__()
        self.config = models.make_config("llama")
        self.left = nn.ModuleList(nn.Linear(models.WIDTH, models.WIDTH) for _ in range(models.DEPTH))
        self.right = nn.ModuleList(nn.Linear(models.WIDTH, models.WIDTH) for _ in range(models.DEPTH))


def test_blocks_that_cannot_be_told_apart_name_the_argument() -> None:
    with pytest.raises(SteeringError, match="set blocks= to one of: left, right"):
        find_blocks(Odd())
    assert find_blocks(Odd(), "right")[0].weight.shape == (models.WIDTH, models.WIDTH)
    with pytest.raises(SteeringError, match="is not a list of modules of the model; it has: left, right"):
        find_blocks(Odd(), "middle")


def test_experts_of_the_same_count_are_not_taken_for_blocks() -> None:
    model = models.make_model("mixtral")
    assert [type(block).__name__ for block in find_blocks(model)] == ["MixtralDecoderLayer"] * models.DEPTH
