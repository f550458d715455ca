"""Where a bias goes: the linear layer of a block whose output reaches the block's own output unchanged.

That is measured, not looked up: the block is run once more with something added behind a layer, and its output must
have moved by just that. Behind the last projection of most families it does (of some, times a constant); where a norm,
a gate or the MLP follows, it does not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from lm_eval_steer.engines.hf.blocks import base_model, decoder, text_config
from lm_eval_steer.errors import SteeringError

_POSITIONS = 7
"""Of the text that a block is tried on."""
_SHARE = 1e-3
"""Of what is added may be missing or too much in one component, beside the rounding of the dtype."""


@dataclass(frozen=True, eq=False)
class Place:
    """Where the bias of one block goes.

    Attributes:
        name: of the linear layer, as the model names it.
        layer: the layer.
        factor: how many times what is added behind it the block's output moves by.
    """

    name: str
    layer: nn.Module
    factor: float


def find_places(model: nn.Module, blocks: Mapping[int, nn.Module], width: int) -> dict[int, Place]:
    """The place of every block.

    Args:
        model: a transformers model, not under PEFT.
        blocks: those that are steered, by their numbers.
        width: of the residual stream.

    Raises:
        SteeringError: for quantised weights, and for a block that has no such place.
    """
    base = base_model(model)
    if getattr(base, "is_quantized", False):
        raise SteeringError(
            f"the weights of {type(base).__name__} are quantised and take no bias: fold into those it was made from"
        )
    names = {module: name for name, module in base.named_modules()}
    found: dict[int, Place] = {}
    for number, block in blocks.items():
        with _Trial(base, block) as trial:
            factors = ((layer, trial.factor(layer)) for layer in _linear_layers(block, width))
            place = next(((layer, factor) for layer, factor in factors if factor is not None), None)
        if place is None:
            raise SteeringError(
                f"in block {number} of {type(base).__name__} no linear layer's output is added to the residual stream "
                "as it is (a norm, a gate or an expert's weight comes between), so that no bias is the shift: steer it "
                "in a run"
            )
        found[number] = Place(names[place[0]], *place)
    return found


def _linear_layers(block: nn.Module, width: int) -> Iterator[nn.Module]:
    """Layers of a block that write as many numbers as the residual stream has, the last first."""
    for layer in reversed(list(block.modules())):
        written = getattr(layer, "nf" if isinstance(layer, Conv1D) else "out_features", None)
        if isinstance(layer, nn.Linear | Conv1D) and written == width:
            yield layer


class _Trial:
    """One block with what the model hands to it, to be run again and again.

    Args:
        model: around the block.
        block: one of its blocks.
    """

    def __init__(self, model: nn.Module, block: nn.Module) -> None:
        self._model, self._block = model, block
        self._given: tuple[tuple[Any, ...], dict[str, Any]] = ((), {})

    def __enter__(self) -> _Trial:
        """Run the model up to the block, once."""
        self._was_training = self._model.training
        self._model.eval()
        ids = torch.arange(1, _POSITIONS + 1, device=next(self._model.parameters()).device)[None]
        ids %= text_config(self._model).vocab_size

        def keep(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            self._given = (args, kwargs)
            raise _ReachedError

        hook = self._block.register_forward_pre_hook(keep, with_kwargs=True)
        try:
            with torch.no_grad():
                decoder(self._model)(input_ids=ids, use_cache=False)
        except _ReachedError:
            pass
        finally:
            hook.remove()
        self._plain = self._run()
        generator = torch.Generator().manual_seed(0)
        drawn = torch.randn(self._plain.shape[-1], generator=generator).to(self._plain)
        self._added = drawn * self._plain.float().std().to(self._plain)
        return self

    def __exit__(self, *_: object) -> None:
        self._model.train(self._was_training)

    def _run(self) -> Tensor:
        """The block's output [1, positions, hidden]."""
        args, kwargs = self._given
        with torch.no_grad():
            after = self._block(*args, **kwargs)
        return after if isinstance(after, Tensor) else after[0]

    def factor(self, layer: nn.Module) -> float | None:
        """How many times what is added behind a layer the block's output moves by.

        None where it moves otherwise, or by no more than rounding does, as behind a projection to keys.
        """
        hook = layer.register_forward_hook(lambda _module, _args, after: after + self._added)
        try:
            moved = self._run().float() - self._plain.float()
        finally:
            hook.remove()
        added = self._added.float()
        factor = float((moved @ added).mean() / (added @ added))
        rounding = torch.finfo(self._plain.dtype).eps * float(self._plain.abs().max() + added.abs().max())
        signal, noise = abs(factor) * float(added.abs().max()), 4 * rounding
        if not signal > noise or not float((moved - factor * added).abs().max()) <= _SHARE * signal + noise:
            return None
        return 1.0 if abs(factor - 1) < _SHARE else factor


class _ReachedError(Exception):
    """The block that a model was run for has been reached."""
