"""The same biases as a LoRA adapter of PEFT: of rank 1, all of it zero but the bias behind it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.folding.biased import share


@contextmanager
def quiet() -> Iterator[None]:
    """PEFT without its warnings about adapters of biases alone, which fold knows."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"peft\.")
        yield


def as_adapter(model: PreTrainedModel, shifts: Mapping[str, Tensor]) -> nn.Module:
    """A model under PEFT that shares its weights with another one, and whose adapter adds a shift behind some layers.

    Args:
        model: stays as it is.
        shifts: name of a linear layer -> what is added behind it [hidden].

    Raises:
        SteeringError: where PEFT is not installed, or knows the family not to take it.
    """
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError:
        raise SteeringError("an adapter is written by PEFT: pip install peft") from None
    config = LoraConfig(r=1, lora_alpha=1, lora_bias=True, target_modules=list(shifts), task_type="CAUSAL_LM")
    try:
        with quiet():
            adapted = get_peft_model(share(model), config)
    except ValueError as error:
        reason = str(error).splitlines()[0]
        raise SteeringError(f"PEFT takes no adapter in {min(shifts)} of {type(model).__name__} ({reason})") from None
    layers = {name: module for name, module in adapted.get_base_model().named_modules() if name in shifts}
    for name, layer in layers.items():
        first, second = layer.lora_A["default"], layer.lora_B["default"]
        with torch.no_grad():
            first.weight.zero_()
            second.weight.zero_()
            second.bias.copy_(shifts[name])
    return adapted.eval()
