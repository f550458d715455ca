"""What both containers of this project share: a header of JSON, and tensors named by place (docs/FORMAT.md)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.sites import DEFAULT, SITES, Place, place_of
from lm_eval_steer.vectors.low_rank import LOW_RANK, PARTS
from lm_eval_steer.vectors.scale import KEEP

FORMAT = "lm_eval_steer.vector"
FORMAT_VERSION = 1
NEWER = 2
"""The version of a file whose strength 1 is no shift of length 1 (`scale` of its passport), or whose directions are of
another site than outputs of blocks, or that holds maps of low rank: a reader that knows version 1 alone would do
something else with them."""
SITE = "block_output"
"""The site of version 1, as passports say it."""
MAX_NESTING = 32
KEY = "lm_eval_steer"
"""The one metadata key of a .safetensors file, the one header key of a .pt file."""

_TENSOR_NAME = re.compile(r"(\w+)\.(0|[1-9][0-9]{0,5})", re.ASCII)


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
    if type(version) is not int or version not in (FORMAT_VERSION, NEWER):
        raise SteeringError(
            f"format_version {brief(version)}, this version reads {FORMAT_VERSION} and {NEWER}: "
            "update lm_eval_steer or extract the vector again"
        )
    passport = content.get("passport")
    if _version_of(passport) > version:
        raise SteeringError(
            f"its passport says {_newer(passport)}, which format_version {version} has not: it is of version {NEWER}"
        )
    return passport


def _version_of(passport: Any) -> int:
    """The first version that has what a passport says."""
    return NEWER if _newer(passport) else FORMAT_VERSION


def _newer(passport: Any) -> str:
    """What a passport says that version 1 has not; nothing where all is of that version."""
    if not isinstance(passport, Mapping):
        return ""
    if passport.get("scale") == KEEP:
        return f"scale {KEEP!r}"
    if "sites" in passport:
        return "sites"
    if passport.get("maps") == LOW_RANK:
        return f"maps {LOW_RANK!r}"
    return f"site {passport['site']!r}" if passport.get("site", SITE) in SITES else ""


def name_tensors(directions: Mapping[Place, np.ndarray]) -> dict[str, np.ndarray]:
    """Directions by the names of their tensors: `direction.3` of block 3, `mlp.3` of another site of it."""
    return {tensor_of(place): direction for place, direction in directions.items()}


def tensor_of(place: Place) -> str:
    """The name of a place's tensor."""
    return f"direction.{place}" if isinstance(place, int) else place


def read_place(name: object, dtype: str, shape: Sequence[int]) -> Place:
    """The place of a tensor, decided by its description, before its numbers are read."""
    match = _TENSOR_NAME.fullmatch(name) if isinstance(name, str) else None
    said = "" if match is None else match[1]
    if match is not None and said in PARTS:
        return _part(match[0], said, dtype, shape)
    site = DEFAULT if said == "direction" else said
    if match is None or site not in SITES or said == DEFAULT:
        raise SteeringError(f"unexpected tensor {brief(name)}, expected direction.N with N = 0, 1, 2, ...")
    if dtype not in ("float32", "F32"):
        raise SteeringError(f"{name} is {dtype}, expected float32")
    wanted = ["heads", "head_dim"] if SITES[site].by_head else ["hidden"]
    if len(shape) != len(wanted) or not all(shape):
        raise SteeringError(f"{name} has shape {brief(list(shape))}, expected [{', '.join(wanted)}]")
    return place_of(site, int(match[2]))


def _part(name: str, part: str, dtype: str, shape: Sequence[int]) -> str:
    """The name of a part of a map of low rank."""
    if dtype not in ("float32", "F32"):
        raise SteeringError(f"{name} is {dtype}, expected float32")
    if len(shape) != PARTS[part] or not all(shape):
        expected = "[rank]" if PARTS[part] == 1 else "[hidden, rank]"
        raise SteeringError(f"{name} has shape {brief(list(shape))}, expected {expected}")
    return name


def brief(value: object) -> str:
    """A value of a file for a sentence."""
    return repr(value)[:60]
