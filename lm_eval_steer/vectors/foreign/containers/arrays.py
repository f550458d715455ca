"""Numbers of a file as arrays: every float type in which vectors are written, and no other."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from lm_eval_steer.errors import SteeringError

SIZES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
"""Type of numbers, as safetensors names it, to the bytes of one."""


def decode(raw: bytes | memoryview, dtype: str, shape: Sequence[int], what: str) -> np.ndarray:
    """Numbers as an array of this shape: float64 of F64, float32 of all others, which it holds exactly.

    Args:
        raw: the bytes of the numbers, in little-endian order.
        dtype: one of `SIZES`.
        shape: of the array.
        what: holds the numbers, for the sentence.

    Raises:
        SteeringError: for another type, and for more or fewer bytes than type and shape say.
    """
    if dtype not in SIZES:
        raise SteeringError(f"{what} is of the type {dtype}, expected one of {', '.join(SIZES)}")
    expected = math.prod(shape) * SIZES[dtype]
    if any(size < 0 for size in shape) or len(raw) != expected:
        raise SteeringError(f"{what} has {len(raw)} bytes, and {dtype} of shape {list(shape)} takes {expected}")
    if dtype == "BF16":  # the upper half of a float32
        return (np.frombuffer(raw, "<u2").astype(np.uint32) << 16).view(np.float32).reshape(shape)
    kind = {"F64": "<f8", "F32": "<f4", "F16": "<f2"}[dtype]
    return np.frombuffer(raw, kind).astype(np.float64 if dtype == "F64" else np.float32).reshape(shape)
