"""Vectors trained by reinforcement learning: biases of `mlp.down_proj` in a checkpoint of transformers."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.text import quoted
from lm_eval_steer.vectors.foreign.answers import Answers
from lm_eval_steer.vectors.foreign.containers.safetensors_file import Tensors
from lm_eval_steer.vectors.foreign.format import ForeignFormat, Said
from lm_eval_steer.vectors.foreign.rows import block_of_module, number_of, one_row
from lm_eval_steer.vectors.foreign.source import Source

_BIAS = re.compile(r"(.*layers\.\d{1,4}\.mlp\.down_proj)\.bias")
_OTHER = re.compile(r".*layers\.\d{1,4}\.mlp\.(?:gate|up|gate_up)_proj\.bias")
_ALONE = "steering_vector"
_LOW_RANK = ("steering_matrix_A", "steering_matrix_B")


def recognises(source: Source) -> bool:
    """A checkpoint in safetensors with such a bias, or with a steering_vector or steering matrices of its own."""
    return any(
        _BIAS.fullmatch(name) or name.rpartition(".")[2] in (_ALONE, *_LOW_RANK)
        for tensors in _checkpoint(source)
        for name in tensors.places
    )


def read(source: Source, answers: Answers) -> Said:
    """What is added at the output of each block, where the architecture puts no norm behind the module."""
    config = source.json("config.json")
    config = config if isinstance(config, dict) else {}
    kind = config.get("model_type") if isinstance(config.get("model_type"), str) else None
    tensors = {name: one for one in _checkpoint(source) for name in one.places}
    ends = {name.rpartition(".")[2]: name for name in tensors}
    if set(_LOW_RANK) <= ends.keys():
        left, right = (tensors[ends[end]][ends[end]] for end in _LOW_RANK)
        if left.ndim != 2 or right.ndim != 2 or left.shape[1] != right.shape[0]:
            raise SteeringError(f"its steering matrices have the shapes {list(left.shape)} and {list(right.shape)}")
        shifts = dict(enumerate(left @ right))
    elif _ALONE in ends:
        name = ends[_ALONE]
        place = config.get("add_place") or answers.ask(
            "module", "it does not say to the output of which module it is added"
        )
        block = block_of_module(place, answers, kind)
        shifts = {block: one_row(tensors[name][name], name)}
    else:
        _refuse_other_biases(tensors)
        found = {name: match[1] for name in tensors if (match := _BIAS.fullmatch(name))}
        shifts = {
            block_of_module(module, answers, kind): one_row(tensors[name][name], name) for name, module in found.items()
        }
    parent = {"architecture": kind, "num_blocks": _count(config.get("num_hidden_layers"))}
    note = "It was trained with the base model's weights, and steers nothing else than that model as it was trained."
    return Said(shifts, "trained", {key: one for key, one in parent.items() if one is not None}, notes=(note,))


def _checkpoint(source: Source) -> list[Tensors]:
    """The files in safetensors that a file or folder is."""
    if source.container == "safetensors":
        return [source.content]
    if source.container != "folder":
        return []
    opened = [source.open(path.name) for path in sorted(source.path.glob("*.safetensors"))]
    return [one.content for one in opened if one.container == "safetensors"]


def _refuse_other_biases(tensors: dict[str, Tensors]) -> None:
    """Refuse a model whose MLPs have biases of their own, since they cannot be told from what was trained."""
    for name, where in tensors.items():
        if _OTHER.fullmatch(name) and np.any(where[name]):
            raise SteeringError(
                f"its model has biases of its own, such as {quoted(name)}, and they are in its vectors, too"
            )


def _count(value: Any) -> int | None:
    return None if value is None else number_of(value, "num_hidden_layers of its config.json")


RL_BIAS = ForeignFormat("biases of mlp.down_proj that were trained (a checkpoint of transformers)", read, recognises)
