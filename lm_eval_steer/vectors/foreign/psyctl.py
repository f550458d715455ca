"""psyctl: safetensors with `layer_i`, where i counts the tensors and the header says the modules."""

from __future__ import annotations

import ast
import re
from typing import Any

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.text import quoted
from lm_eval_steer.vectors.foreign.answers import Answers
from lm_eval_steer.vectors.foreign.format import ForeignFormat, Said
from lm_eval_steer.vectors.foreign.rows import block_of_module, one_row, scalars
from lm_eval_steer.vectors.foreign.source import Source

_NAME = re.compile(r"layer_(\d{1,4})")
_LONGEST = 100_000


def recognises(source: Source) -> bool:
    """Its header has layer_names."""
    return source.container == "safetensors" and "layer_names" in source.content.metadata


def read(source: Source, answers: Answers) -> Said:
    """`layer_i` acts on the module that layer_names[i] says."""
    modules = _modules(source.content.metadata["layer_names"])
    shifts: dict[int, Any] = {}
    for name in source.content.places:
        found = _NAME.fullmatch(name)
        if found is None or int(found[1]) >= len(modules):
            raise SteeringError(f"it holds the tensor {quoted(name)}, and its layer_names are of {len(modules)} layers")
        block = block_of_module(modules[int(found[1])], answers)
        if block in shifts:
            raise SteeringError(f"it holds two vectors that act at the output of block {block}")
        shifts[block] = one_row(source.content[name], name)
    method = source.content.metadata.get("method")
    return Said(shifts, method, says=scalars(source.content.metadata))


def _modules(text: str) -> list[Any]:
    """The list that the text of a Python list is; nothing in it is run."""
    try:
        found = ast.literal_eval(text) if len(text) <= _LONGEST else None
    except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
        found = None
    if not isinstance(found, list):
        raise SteeringError(f"its layer_names are {quoted(text[:60])}, expected a list of modules")
    return found


PSYCTL = ForeignFormat("a vector of psyctl (.safetensors)", read, recognises)
