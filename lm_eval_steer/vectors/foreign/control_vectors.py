"""What the writers of control vectors in GGUF share: `direction.N`, added at the output of block N by llama.cpp."""

from __future__ import annotations

from typing import Any

import numpy as np

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.text import quoted
from lm_eval_steer.vectors.foreign.containers.gguf_file import Gguf
from lm_eval_steer.vectors.foreign.format import Said
from lm_eval_steer.vectors.foreign.rows import carried, number_of, one_row, scalars
from lm_eval_steer.vectors.foreign.source import Source
from lm_eval_steer.vectors.formats.header import KEY

ARCHITECTURE = "controlvector"
_PREFIX = "direction."


def is_control_vector(source: Source) -> bool:
    """Whether a file is in GGUF and holds a control vector."""
    if source.container != "gguf":
        return False
    content: Gguf = source.content
    return content.values.get("general.architecture") == ARCHITECTURE or any(
        name.startswith(_PREFIX) for name in content.tensors
    )


def layer_count(content: Gguf) -> tuple[str | None, Any]:
    """Type and value of the number of layers that a file says."""
    key = f"{ARCHITECTURE}.layer_count"
    return content.kinds.get(key), content.values.get(key)


def directions(content: Gguf) -> dict[int, np.ndarray]:
    """N -> direction.N, float [width], in the order of the file.

    Raises:
        SteeringError: for other tensors than directions.
    """
    found = {}
    for name, tensor in content.tensors.items():
        if not name.startswith(_PREFIX):
            raise SteeringError(f"it holds the tensor {quoted(name)} beside directions")
        found[number_of(name.removeprefix(_PREFIX), f"N of {quoted(name)}")] = one_row(tensor, f"tensor {quoted(name)}")
    if len(found) < len(content.tensors):
        raise SteeringError("it holds two directions of one block")
    return found


def say(content: Gguf, shifts: dict[int, np.ndarray], method: str | None = None, notes: tuple[str, ...] = ()) -> Said:
    """What a file says, with whatever stands in its header; `model_hint` serves for a check alone."""
    hint = content.values.get(f"{ARCHITECTURE}.model_hint")
    known = isinstance(hint, str) and hint not in ("", "unknown")
    return Said(
        shifts,
        method,
        {"architecture": hint} if known else {},
        {key: value for key, value in scalars(content.values).items() if key != KEY},
        notes,
        carried(content.values.get(KEY)),
    )


def read_plain(source: Source, answers: Any) -> Said:
    """A file whose direction.N acts at the output of block N, as it stands."""
    return say(source.content, directions(source.content))
