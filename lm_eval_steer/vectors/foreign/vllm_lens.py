"""vllm-lens: JSON with activations in base64, one row per layer index."""

from __future__ import annotations

import base64
import binascii
import math
from typing import Any

import numpy as np

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.shapes import is_number
from lm_eval_steer.text import quoted
from lm_eval_steer.vectors.foreign.answers import Answers
from lm_eval_steer.vectors.foreign.containers.arrays import SIZES, decode
from lm_eval_steer.vectors.foreign.format import ForeignFormat, Said
from lm_eval_steer.vectors.foreign.rows import number_of
from lm_eval_steer.vectors.foreign.source import Source

_TYPES = {"torch.float32": "F32", "torch.float16": "F16", "torch.bfloat16": "BF16", "torch.float64": "F64"}
_SHORT = {"float32": "F32", "float16": "F16", "float64": "F64"}
_MOST = 2**27
"""Numbers of a vector: 100 blocks of a width that no model has."""


def recognises(source: Source) -> bool:
    """It has activations and layer_indices."""
    content = _alone(source.content) if source.container == "json" else None
    return isinstance(content, dict) and {"activations", "layer_indices"} <= content.keys()


def read(source: Source, answers: Answers) -> Said:
    """Row i acts at the output of block layer_indices[i], as long as `scale` makes it."""
    content = _alone(source.content)
    if not isinstance(content, dict):
        raise SteeringError(f"it is a list of {len(source.content)} vectors: save each in a file of its own")
    if content.get("position_indices") is not None:
        raise SteeringError("it acts at the positions that position_indices names, and a vector acts by a token rule")
    rows = _decode(content["activations"])
    layers = content["layer_indices"]
    if rows.ndim != 2 or not isinstance(layers, list) or len(layers) != len(rows):
        told = len(layers) if isinstance(layers, list) else "no list of"
        raise SteeringError(f"its activations have shape {list(rows.shape)} and there are {told} layer_indices")
    scale = content.get("scale", 1.0)
    if not is_number(scale) or scale == 0:
        raise SteeringError(f"its scale is {quoted(scale)}, expected a number other than 0")
    shifts = {number_of(layer, "one of layer_indices"): row for layer, row in zip(layers, rows, strict=True)}
    says = {"scale": scale, "norm_match": bool(content.get("norm_match", False))}
    if not says["norm_match"]:
        return Said({block: scale * row for block, row in shifts.items()}, says=says)
    units = {block: np.sign(scale) * row / (np.linalg.norm(row) or 1.0) for block, row in shifts.items()}
    note = (
        f"Its strength is a share of the length of the state (norm_match): steer with dose={abs(scale):g}, not alpha."
    )
    return Said(units, says=says, notes=(note,))


def _alone(content: Any) -> Any:
    return content[0] if isinstance(content, list) and len(content) == 1 else content


def _decode(packed: Any) -> np.ndarray:
    """Activations, float [layers, width] or more. bfloat16 is written as whole numbers: `original_dtype` says so."""
    said = packed if isinstance(packed, dict) else {}
    shape, data = said.get("shape"), said.get("data")
    if (
        not isinstance(data, str)
        or not isinstance(shape, list)
        or not all(type(one) is int and one > 0 for one in shape)
    ):
        raise SteeringError("its activations are not data and shape, as vllm-lens writes them")
    given, original = said.get("dtype"), said.get("original_dtype")
    dtype = _TYPES.get(str(original)) or _SHORT.get(str(given).removeprefix("torch."))
    if dtype is None or math.prod(shape) > _MOST:
        raise SteeringError(f"its activations are {quoted(original or given)} of shape {shape}, expected float numbers")
    try:
        raw = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raise SteeringError("its activations are no base64") from None
    compression = said.get("compression")
    if compression == "zstd":
        raw = _decompress(raw, math.prod(shape) * SIZES[dtype])
    elif compression is not None:
        raise SteeringError(f"its activations are compressed with {quoted(compression)}, expected zstd or nothing")
    return decode(raw, dtype, shape, "its activations")


def _decompress(raw: bytes, size: int) -> bytes:
    """What zstd made of `size` bytes; no more are written, whatever the data claim."""
    import pyarrow

    try:
        return bytes(pyarrow.Codec("zstd").decompress(raw, decompressed_size=size, asbytes=True))
    except (pyarrow.ArrowException, OSError, ValueError):
        raise SteeringError(f"its activations are no zstd data of {size} bytes") from None


VLLM_LENS = ForeignFormat("a steering vector of vllm-lens (.json)", read, recognises)
