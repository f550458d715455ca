"""The passport's `scale`: whether strength 1 is a shift of length 1, or as long as it was in another tool's file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.shapes import is_number

UNIT = "unit"
"""Strength 1 adds a direction of length 1."""

KEEP = "keep"
"""Strength 1 adds each direction as long as `blocks[].length` says, as the tool does that made it."""


def check_scale(passport: Mapping[str, Any], layers: Sequence[int]) -> None:
    """Refuse a `scale` that there is not, and lengths that are missing.

    Args:
        passport: plain JSON.
        layers: blocks that there are directions for.

    Raises:
        SteeringError: names what the passport says and what was expected.
    """
    scale = passport.get("scale", UNIT)
    if scale not in (UNIT, KEEP):
        raise SteeringError(f"the passport says scale {repr(scale)[:60]}, expected {UNIT!r} or {KEEP!r}")
    if scale == UNIT:
        return
    said = _said(passport)
    for layer in layers:
        if not (is_number(said.get(layer)) and said[layer] > 0):
            raise SteeringError(
                f"the passport says scale {KEEP!r} and length {said.get(layer)} for block {layer}, expected a number "
                "above 0"
            )


def kept_lengths(passport: Mapping[str, Any], layers: Sequence[int]) -> np.ndarray | None:
    """How long each direction is at strength 1, float64 [blocks]; None where all are of length 1."""
    if passport.get("scale") != KEEP:
        return None
    said = _said(passport)
    return np.array([said[layer] for layer in layers], dtype=np.float64)


def _said(passport: Mapping[str, Any]) -> dict[int, Any]:
    """Block -> the length that a passport says of it."""
    blocks = passport.get("blocks")
    entries = [one for one in blocks if isinstance(one, dict)] if isinstance(blocks, list) else []
    return {one["block"]: one.get("length") for one in entries if type(one.get("block")) is int}
