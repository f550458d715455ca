"""steering-lite: safetensors with `layerN.v` and a header that says method and strength."""

from __future__ import annotations

import json
import re
from typing import Any

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.text import quoted
from lm_eval_steer.vectors.foreign.answers import Answers
from lm_eval_steer.vectors.foreign.format import ForeignFormat, Said
from lm_eval_steer.vectors.foreign.rows import number_of, one_row, scalars
from lm_eval_steer.vectors.foreign.source import Source

_NAME = re.compile(r"layer(\d{1,4})\.v")
_ADDED = ("mean_diff", "pca")
_OTHERWISE = ("spherical", "cosine_gated", "ablation")
"""Methods with one direction per block that act otherwise than by adding it."""


def recognises(source: Source) -> bool:
    """Its header has a cfg that says a method."""
    return source.container == "safetensors" and "method" in _settings(source)


def read(source: Source, answers: Answers) -> Said:
    """`layerN.v` acts at the output of block N; `coeff`, which is its strength, is kept and not multiplied in."""
    settings = _settings(source)
    method = settings["method"]
    if method not in (*_ADDED, *_OTHERWISE):
        raise SteeringError(f"its method {quoted(method)} is no direction per block: use {', '.join(_ADDED)}")
    shifts = {}
    for name in source.content.places:
        found = _NAME.fullmatch(name)
        if found is None:
            raise SteeringError(f"it holds the tensor {quoted(name)}, expected layerN.v alone")
        shifts[number_of(found[1], name)] = one_row(source.content[name], name)
    notes = (f"Its tool does not add the direction but acts by {method}.",) if method in _OTHERWISE else ()
    return Said(shifts, method, says=scalars(settings), notes=notes)


def _settings(source: Source) -> dict[str, Any]:
    try:
        found = json.loads(source.content.metadata.get("cfg", ""))
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


STEERING_LITE = ForeignFormat("a vector of steering-lite (.safetensors)", read, recognises)
