"""What both containers of this project share: a header of JSON, and tensors named direction.N (docs/FORMAT.md)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.vectors.scale import KEEP

FORMAT = "lm_eval_steer.vector"
FORMAT_VERSION = 1
KEEPING_LENGTHS = 2
"""The version of a file whose strength 1 is no shift of length 1 (`scale` of its passport): a reader that knows version
1 alone would steer with another length."""
MAX_NESTING = 32
KEY = "lm_eval_steer"
"""The one metadata key of a .safetensors file, the one header key of a .pt file."""

_TENSOR_NAME = re.compile(r"direction\.(0|[1-9][0-9]{0,5})")


def make_header(passport: Mapping[str, Any]) -> str:
    """The header of a file with this passport."""
    header = {"format": FORMAT, "format_version": _version_of(passport), "passport": passport}
    return json.dumps(header, ensure_ascii=False, sort_keys=True)


def read_header(header: Any) -> Any:
    """The passport in a file's header, once the header has shown that the file is of this format and version."""
    if not isinstance(header, str):
        raise SteeringError(f"not a steering vector of this project: there is no {KEY!r} entry in its header")
    try:
        content = json.loads(header)
    except (ValueError, RecursionError):
        raise SteeringError(f"the {KEY!r} entry of its header is not JSON of at most {MAX_NESTING} levels") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise SteeringError(f"its header does not say format {FORMAT!r}")
    version = content.get("format_version")
    if type(version) is not int or version not in (FORMAT_VERSION, KEEPING_LENGTHS):
        raise SteeringError(
            f"format_version {brief(version)}, this version reads {FORMAT_VERSION} and {KEEPING_LENGTHS}: "
            "update lm_eval_steer or extract the vector again"
        )
    passport = content.get("passport")
    if _version_of(passport) > version:
        raise SteeringError(
            f"its passport says scale {KEEP!r}, which format_version {version} has not: it is of version "
            f"{KEEPING_LENGTHS}"
        )
    return passport


def _version_of(passport: Any) -> int:
    """The first version that has what a passport says."""
    return KEEPING_LENGTHS if isinstance(passport, Mapping) and passport.get("scale") == KEEP else FORMAT_VERSION


def name_tensors(directions: Mapping[int, np.ndarray]) -> dict[str, np.ndarray]:
    """Directions by the names of their tensors."""
    return {f"direction.{layer}": direction for layer, direction in directions.items()}


def read_layer(name: object, dtype: str, shape: Sequence[int]) -> int:
    """N of a tensor direction.N, decided by its description, before its numbers are read."""
    match = _TENSOR_NAME.fullmatch(name) if isinstance(name, str) else None
    if match is None:
        raise SteeringError(f"unexpected tensor {brief(name)}, expected direction.N with N = 0, 1, 2, ...")
    if dtype not in ("float32", "F32"):
        raise SteeringError(f"{name} is {dtype}, expected float32")
    if len(shape) != 1 or not shape[0]:
        raise SteeringError(f"{name} has shape {brief(list(shape))}, expected [hidden]")
    return int(match[1])


def brief(value: object) -> str:
    """A value of a file for a sentence."""
    return repr(value)[:60]
