"""The container safetensors, with each tensor read when it is asked for: a checkpoint holds many and few are asked."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.text import quoted
from lm_eval_steer.vectors.foreign.containers.arrays import decode


@dataclass(frozen=True, eq=False)
class Tensors:
    """The tensors of a file.

    Attributes:
        path: the file.
        metadata: key -> text of its header.
        places: name -> type, shape, and where its bytes begin and end.
    """

    path: Path
    metadata: dict[str, str]
    places: dict[str, tuple[str, tuple[int, ...], int, int]]

    def __getitem__(self, name: str) -> np.ndarray:
        """A tensor, as float32 or float64.

        Raises:
            SteeringError: for one that holds no float numbers.
        """
        dtype, shape, begin, end = self.places[name]
        with self.path.open("rb") as file:
            file.seek(begin)
            return decode(file.read(end - begin), dtype, shape, f"tensor {quoted(name)}")


def read_safetensors(path: Path) -> Tensors:
    """What the header of a file says, once the library has found it whole.

    Raises:
        SteeringError: for a damaged file.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            metadata = dict(file.metadata() or {})
    except (SafetensorError, OSError, ValueError):
        raise SteeringError("this file in safetensors is damaged or cut off") from None
    with path.open("rb") as raw:
        length = int.from_bytes(raw.read(8), "little")
        header = json.loads(raw.read(length))
    header.pop("__metadata__", None)
    return Tensors(path, metadata, {name: _place(one, 8 + length) for name, one in header.items()})


def _place(one: dict[str, list[int]], start: int) -> tuple[str, tuple[int, ...], int, int]:
    begin, end = one["data_offsets"]
    return str(one["dtype"]), tuple(one["shape"]), start + begin, start + end
