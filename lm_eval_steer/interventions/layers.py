"""Which blocks are meant: what the `layers` argument may look like."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.text import quoted


def read_layers(spec: Any) -> Sequence[int] | None:
    """Read the `layers` argument, before a model is there to check it against; None stands for all.

    `all`, one block (`7`), a range with both ends (`10-20`) or a list (`[1,4]`).

    Raises:
        SteeringError: for anything else.
    """
    chosen: Sequence[int]
    if isinstance(spec, str) and spec == "all":
        return None
    if isinstance(spec, str) and (match := re.fullmatch(r"(\d{1,18})(?:-(\d{1,18}))?", spec.strip())):
        first, last = int(match[1]), int(match[2] or match[1])
        chosen = range(first, last + 1)
    elif _is_number(spec):
        chosen = [spec]
    elif isinstance(spec, list | tuple) and all(map(_is_number, spec)):
        chosen = spec
    else:
        raise SteeringError(f"layers={quoted(spec)} is not understood: use all, 7, 10-20 or [1,4]")
    if not chosen:
        raise SteeringError(f"layers={quoted(spec)} names no block: use all, 7, 10-20 or [1,4]")
    return chosen


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**9


def parse_layers(spec: Any, blocks: int) -> tuple[int, ...] | None:
    """Read the `layers` argument for a model of `blocks` blocks; None stands for all.

    Raises:
        SteeringError: for what `read_layers` does not understand and for blocks that the model does not have.
    """
    chosen = read_layers(spec)
    if chosen is None:
        return None
    outside = next((layer for layer in chosen if not 0 <= layer < blocks), None)
    if outside is not None:
        raise SteeringError(f"layers={quoted(spec)} names block {outside}, but the model has blocks 0 to {blocks - 1}")
    return tuple(sorted(set(chosen)))
