"""The container GGUF, read strictly: nothing is allocated that the file does not hold.

After https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions 2 and 3, little-endian.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.text import quoted
from lm_eval_steer.vectors.foreign.containers.arrays import SIZES, decode

MAGIC = b"GGUF"

_SCALARS = {
    **{0: ("u8", "<B"), 1: ("i8", "<b"), 2: ("u16", "<H"), 3: ("i16", "<h"), 4: ("u32", "<I"), 5: ("i32", "<i")},
    **{6: ("f32", "<f"), 7: ("bool", "<?"), 10: ("u64", "<Q"), 11: ("i64", "<q"), 12: ("f64", "<d")},
}
"""Number of a type -> its name, and how `struct` reads it."""
_STRING, _ARRAY = 8, 9
_TENSOR_TYPES = {0: "F32", 1: "F16", 28: "F64", 30: "BF16"}
_MOST = 100_000
"""Entries, tensors and items of an array: a control vector has a few hundred."""


@dataclass(frozen=True, eq=False)
class Gguf:
    """What a file in GGUF holds.

    Attributes:
        values: key -> value.
        kinds: key -> the name of its value's type, such as `u32`.
        tensors: name -> array, in the order of the file.
    """

    values: dict[str, Any]
    kinds: dict[str, str]
    tensors: dict[str, np.ndarray]


def read_gguf(path: Path) -> Gguf:
    """Read a whole file.

    Raises:
        SteeringError: where it is damaged, or of another version or byte order.
    """
    reader = _Reader(path.read_bytes())
    try:
        return reader.read()
    except (struct.error, UnicodeDecodeError, OverflowError):
        raise SteeringError("this GGUF file is damaged or cut off") from None


class _Reader:
    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self.place = len(MAGIC)

    def read(self) -> Gguf:
        version = self.number("<I")
        if version not in (2, 3):
            raise SteeringError(f"this GGUF file is of version {version}, expected 2 or 3 in little-endian order")
        n_tensors, n_values = self.count("<Q"), self.count("<Q")
        values: dict[str, Any] = {}
        kinds: dict[str, str] = {}
        for _ in range(n_values):
            key = self.text()
            kinds[key], values[key] = self.value(self.number("<I"))
        found = [self.tensor() for _ in range(n_tensors)]
        alignment = values.get("general.alignment", 32)
        if type(alignment) is not int or not 0 < alignment <= 2**16:
            raise SteeringError(
                f"this GGUF file says general.alignment {quoted(alignment)}, expected a number of bytes"
            )
        start = -(-self.place // alignment) * alignment
        tensors = {}
        for name, dtype, shape, offset in found:
            if name in tensors:
                raise SteeringError(f"this GGUF file holds two tensors {quoted(name)}")
            size = math.prod(shape) * SIZES[dtype]
            begin = start + offset
            tensors[name] = decode(memoryview(self.raw)[begin : begin + size], dtype, shape, f"tensor {quoted(name)}")
        return Gguf(values, kinds, tensors)

    def number(self, form: str) -> Any:
        (value,) = struct.unpack_from(form, self.raw, self.place)
        self.place += struct.calcsize(form)
        return value

    def count(self, form: str) -> int:
        number = self.number(form)
        if number > _MOST:
            raise SteeringError(f"this GGUF file says that it has {number} entries of a kind, expected at most {_MOST}")
        return int(number)

    def text(self) -> str:
        length = self.number("<Q")
        if length > len(self.raw) - self.place:
            raise SteeringError("this GGUF file is damaged or cut off")
        self.place += length
        return self.raw[self.place - length : self.place].decode("utf-8")

    def value(self, kind: int, depth: int = 0) -> tuple[str, Any]:
        if kind in _SCALARS:
            name, form = _SCALARS[kind]
            return name, self.number(form)
        if kind == _STRING:
            return "text", self.text()
        if kind == _ARRAY and depth < 2:
            of = self.number("<I")
            return "array", [self.value(of, depth + 1)[1] for _ in range(self.count("<Q"))]
        raise SteeringError(f"this GGUF file holds a value of the unknown type {kind}")

    def tensor(self) -> tuple[str, str, tuple[int, ...], int]:
        name = self.text()
        dimensions = self.number("<I")
        if dimensions > 4:
            raise SteeringError(f"tensor {quoted(name)} has {dimensions} dimensions, expected at most 4")
        shape = tuple(reversed([self.number("<Q") for _ in range(dimensions)]))  # the fastest one stands first there
        kind, offset = self.number("<I"), self.number("<Q")
        if kind not in _TENSOR_TYPES:
            raise SteeringError(f"tensor {quoted(name)} is of GGUF's type {kind}, expected F32, F16, BF16 or F64")
        return name, _TENSOR_TYPES[kind], shape, offset
