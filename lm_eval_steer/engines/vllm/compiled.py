"""Steering inside vLLM's compiled models: an operator in the graph of every decoder block.

Hooks that come after compilation are not heard, and Python that is traced runs once. So the blocks get a hook while the
model is loaded, by a loader of our own (vLLM's extension point for custom load formats), and what that hook leaves in
the graph is one operator, which torch neither looks into nor moves. It runs Python on every pass, as the hooks of eager
models do, and finds the steering that is announced for the pass. In the graphs that vLLM captures on CUDA it must not
be contained: it is one of the `splitting_ops`, at which vLLM cuts, as at its attention.

It changes the block's output in place, since a captured graph reads its inputs from where it found them first.

Nothing of vLLM is patched. Beside what versions.py names, `additional_config` is used, and of the compilation config
`splitting_ops` and `cudagraph_mode`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.library import Library

from lm_eval_steer.engines.vllm import blocks as vllm_blocks
from lm_eval_steer.engines.vllm.anchors import is_missing, parts
from lm_eval_steer.engines.vllm.blocks import find_layers
from lm_eval_steer.engines.vllm.support import LOADER, OPERATOR, SETTINGS
from lm_eval_steer.engines.vllm.versions import (
    BaseModelLoader,
    direct_register_custom_op,
    get_model_loader,
    register_model_loader,
)

_LIBRARY = Library(OPERATOR.split("::")[0], "FRAGMENT")
_traced: WeakKeyDictionary[nn.Module, None] = WeakKeyDictionary()


def is_traced(layers: Sequence[nn.Module]) -> bool:
    """Whether the blocks of this process call the operator."""
    return all(layer in _traced for layer in layers if not is_missing(layer))


def _steer(hidden: Tensor, residual: Tensor | None, block: int) -> None:
    steering = vllm_blocks.announced
    if steering is not None:
        steering.steer_in_place(block, hidden, residual)


def _steer_nothing(hidden: Tensor, residual: Tensor | None, block: int) -> None:
    """What the operator does while it is traced."""


def _call(block: int) -> Callable[[nn.Module, Any, Any], None]:
    def call(module: nn.Module, args: Any, output: Any) -> None:
        hidden, residual = parts(output)
        torch.ops.lm_eval_steer.steer(hidden, residual, block)

    return call


class SteeredLoader(BaseModelLoader):
    """Loads as another loader does, and puts the operator behind every block.

    Args:
        load_config: of vLLM; `model_loader_extra_config` has the other loader's format under the key `load_format`.
    """

    def __init__(self, load_config: Any) -> None:
        super().__init__(load_config)
        extra = dict(load_config.model_loader_extra_config)
        form = extra.pop("load_format")
        self._other = get_model_loader(replace(load_config, load_format=form, model_loader_extra_config=extra))

    def download_model(self, model_config: Any) -> None:
        self._other.download_model(model_config)

    def load_weights(self, model: nn.Module, model_config: Any) -> None:
        self._other.load_weights(model, model_config)

    def load_model(self, vllm_config: Any, model_config: Any, prefix: str = "") -> nn.Module:
        """A model ready to be compiled; one that only drafts for it is left alone."""
        model = self._other.load_model(vllm_config=vllm_config, model_config=model_config, prefix=prefix)
        if model_config is not vllm_config.model_config:
            return model
        compilation: Any = vllm_config.compilation_config
        if compilation.cudagraph_mode.has_full_cudagraphs():
            raise ValueError(
                "steered-vllm needs cudagraph_mode PIECEWISE or NONE in compilation_config, since nothing could be "
                f"steered within whole graphs, and found {compilation.cudagraph_mode.name}"
            )
        if compilation.splitting_ops is not None and OPERATOR not in compilation.splitting_ops:
            compilation.splitting_ops.append(OPERATOR)
        depth = int(model_config.hf_text_config.num_hidden_layers)
        for block, layer in enumerate(find_layers(model, depth, vllm_config.additional_config[SETTINGS]["blocks"])):
            if not is_missing(layer):
                layer.register_forward_hook(_call(block))
                _traced[layer] = None
        return model


def register() -> None:
    """Make operator and loader known to torch and vLLM in this process."""
    if not hasattr(torch.ops.lm_eval_steer, "steer"):
        direct_register_custom_op(
            OPERATOR.split("::")[1],
            _steer,
            mutates_args=["hidden", "residual"],
            fake_impl=_steer_nothing,
            target_lib=_LIBRARY,
        )
        register_model_loader(LOADER)(SteeredLoader)
