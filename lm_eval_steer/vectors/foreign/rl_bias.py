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
from lm_eval_steer.vectors.foreign.rows import at_output_or_input, block_of_module, number_of, one_row
from lm_eval_steer.vectors.foreign.source import Source, open_source

_BIAS = re.compile(r"(.*layers\.\d{1,4}\.mlp\.down_proj)\.bias")
_OTHER = re.compile(r".*layers\.\d{1,4}\.mlp\.(?:gate|up|gate_up)_proj\.bias")
_ALONE = "steering_vector"
_LOW_RANK = ("steering_matrix_A", "steering_matrix_B")
_MOST = 2**27
"""Numbers of their product: 100 blocks of a width that no model has."""


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
    notes: tuple[str, ...] = ("It was trained with the weights of its model, and is for them as they were then.",)
    if set(_LOW_RANK) <= ends.keys():
        used = [ends[end] for end in _LOW_RANK]
        shifts, more = at_output_or_input(
            _product(*(tensors[name][name] for name in used)),
            answers,
            "it does not say where row N of its steering matrices is added",
            {"output": "at the output of block N", "input": "at its input"},
        )
        notes += more
    else:
        used, modules = _modules(tensors, ends, config, answers)
        blocks = [block_of_module(module, answers, kind) for module in modules]
        if len(set(blocks)) < len(blocks):
            raise SteeringError(f"it holds several vectors of one block, such as {quoted(used[0])}")
        shifts = {block: one_row(tensors[name][name], name) for block, name in zip(blocks, used, strict=True)}
    source.files.extend(tensors[name].path for name in used)
    parent = {"architecture": kind, "num_blocks": _count(config.get("num_hidden_layers"))}
    return Said(shifts, "trained", {key: one for key, one in parent.items() if one is not None}, notes=notes)


def _modules(
    tensors: dict[str, Tensors], ends: dict[str, str], config: dict[str, Any], answers: Answers
) -> tuple[list[str], list[Any]]:
    """Names of the tensors, and the module to whose output each is added."""
    if _ALONE in ends:
        place = config.get("add_place")
        why = "it does not say to the output of which module it is added"
        return [ends[_ALONE]], [place or answers.ask("module", why)]
    for name, where in tensors.items():
        if _OTHER.fullmatch(name) and np.any(where[name]):
            raise SteeringError(
                f"its model has biases of its own, such as {quoted(name)}, and they are in its vectors, too"
            )
    found = {name: match[1] for name in tensors if (match := _BIAS.fullmatch(name))}
    return list(found), list(found.values())


def _product(left: np.ndarray, right: np.ndarray) -> dict[int, np.ndarray]:
    """Rows of the product of [blocks, rank] and [rank, width]."""
    if left.ndim != 2 or right.ndim != 2 or left.shape[1] != right.shape[0] or len(left) * right.shape[1] > _MOST:
        raise SteeringError(f"its steering matrices have the shapes {list(left.shape)} and {list(right.shape)}")
    return dict(enumerate(left @ right))


def _checkpoint(source: Source) -> list[Tensors]:
    """The files in safetensors that a file or folder is."""
    if source.container == "safetensors":
        return [source.content]
    if source.container != "folder":
        return []
    opened = [open_source(path) for path in sorted(source.path.glob("*.safetensors"))]
    return [one.content for one in opened if one.container == "safetensors"]


def _count(value: Any) -> int | None:
    return None if value is None else number_of(value, "num_hidden_layers of its config.json")


RL_BIAS = ForeignFormat("biases of mlp.down_proj that were trained (a checkpoint of transformers)", read, recognises)
