"""A model with biases that its checkpoint can hold: its own class with a switch of its configuration, or as a Llama."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedConfig, PreTrainedModel

from lm_eval_steer.errors import SteeringError

LLAMAS = ("qwen2", "mistral")
"""Families that are Llama by other names, where they look at the whole text: Llama's configuration has biases."""


def with_biases(model: PreTrainedModel, biases: Mapping[str, Tensor]) -> PreTrainedModel:
    """A model that shares all weights with another one and has other biases in some layers.

    Args:
        model: stays as it is.
        biases: name of a linear layer -> its bias [hidden].

    Raises:
        SteeringError: where no checkpoint of its family, nor one of Llama, can hold them.
    """
    names = {f"{name}.bias" for name in biases}
    found = _own_class(model, names) or _llama(model, names)
    if found is None:
        raise SteeringError(
            f"{type(model).__name__} has no bias in {min(names).removesuffix('.bias')}, and no setting of its "
            "configuration gives it one: write an adapter (--adapter)"
        )
    for name, bias in biases.items():
        found.get_submodule(name).bias = nn.Parameter(bias, requires_grad=False)
    return found


def share(model: PreTrainedModel) -> PreTrainedModel:
    """Another model of the same modules and configuration, whose tensors are those of the first."""
    tensors = {id(one): one for one in (*model.parameters(), *model.buffers())}
    return copy.deepcopy(model, tensors)


def _own_class(model: PreTrainedModel, names: set[str]) -> PreTrainedModel | None:
    """The same class, with a switch of its configuration where it takes one; None where none gives these biases."""
    there = set(model.state_dict())
    flags = [name for name, value in model.config.to_dict().items() if "bias" in name and isinstance(value, bool)]
    switches: list[dict[str, Any]] = [{}, *({name: not getattr(model.config, name)} for name in flags)]
    for switch in switches:
        config = copy.deepcopy(model.config)
        config.update(switch)
        with torch.device("meta"):
            missing = set(type(model)(config).state_dict()) ^ there
        if names <= there | missing and there.isdisjoint(missing) and all(one.endswith(".bias") for one in missing):
            same = share(model)
            same.config.update(switch)
            _add_zeros(same, missing)
            return same
    return None


def _llama(model: PreTrainedModel, names: set[str]) -> PreTrainedModel | None:
    """The same weights as a Llama; None where they are not one's, or where a window limits what is looked at."""
    config: PreTrainedConfig = model.config
    if config.model_type not in LLAMAS or getattr(config, "sliding_window", None) is not None:
        return None
    kept = LlamaConfig().to_dict().keys() - {"model_type", "architectures", "transformers_version"}
    fields = {name: value for name, value in config.to_dict().items() if name in kept}
    fields |= {"attention_bias": True, "mlp_bias": True, "dtype": model.dtype}
    with torch.device("meta"):
        llama = LlamaForCausalLM(LlamaConfig(**fields))
    weights = model.state_dict()
    missing = set(llama.state_dict()) - set(weights)
    if not names <= missing or not all(one.endswith(".bias") for one in missing):
        return None
    llama.load_state_dict(weights, assign=True, strict=False)
    llama.model.rotary_emb = type(llama.model.rotary_emb)(llama.config).to(model.device)
    _add_zeros(llama, missing)
    llama.tie_weights()
    llama.generation_config = model.generation_config
    return llama.eval()


def _add_zeros(model: PreTrainedModel, names: Iterable[str]) -> None:
    """Give layers the biases that the configuration speaks of and nobody needs: zeros."""
    for name in names:
        layer = model.get_submodule(name.removesuffix(".bias"))
        weight: Any = layer.weight
        width = layer.out_features if isinstance(layer, nn.Linear) else weight.shape[-1]
        zeros = torch.zeros(int(width), dtype=weight.dtype, device=weight.device)
        layer.bias = nn.Parameter(zeros, requires_grad=False)
