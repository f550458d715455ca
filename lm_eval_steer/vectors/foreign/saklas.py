"""saklas: a profile, `layer_N` in safetensors with a JSON file beside it."""

from __future__ import annotations

import re
from typing import Any

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.text import quoted
from lm_eval_steer.vectors.foreign.answers import Answers
from lm_eval_steer.vectors.foreign.format import ForeignFormat, Said
from lm_eval_steer.vectors.foreign.rows import carried, number_of, one_row, scalars
from lm_eval_steer.vectors.foreign.source import Source
from lm_eval_steer.vectors.formats.header import KEY

_NAME = re.compile(r"layer_(\d{1,4})")
_VERSION = 6


def recognises(source: Source) -> bool:
    """All tensors are called `layer_N`, and a JSON file of the same name beside them is a profile's."""
    if source.container != "safetensors" or not all(_NAME.fullmatch(name) for name in source.content.places):
        return False
    return isinstance(_sidecar(source), dict) and "format_version" in _sidecar(source)


def read(source: Source, answers: Answers) -> Said:
    """`layer_N` acts at the output of block N. Only the sizes of blocks relative to each other mean anything there, so
    what strength 1 is has to be said."""
    sidecar = _sidecar(source)
    if not isinstance(sidecar, dict):
        raise SteeringError(f"there is no {source.path.with_suffix('.json').name} beside it, which a profile has")
    if sidecar.get("format_version") != _VERSION:
        raise SteeringError(
            f"its profile is of format_version {quoted(sidecar.get('format_version'))}, and {_VERSION} is known: "
            "save it "
            "again with that release of saklas"
        )
    names = source.content.places
    shifts = {number_of(_NAME.fullmatch(name)[1], name): one_row(source.content[name], name) for name in names}  # type: ignore[index]
    provenance = sidecar.get("provenance")
    if isinstance(provenance, dict) and (passport := carried(provenance.get(KEY))):
        return Said(shifts, passport=passport)
    answers.choose(
        "scale",
        "in a profile of saklas only the sizes of blocks relative to each other mean anything, not its strengths",
        {"keep": "those sizes, at strength 1 as they stand", "unit": "length 1 in every block"},
    )
    method = sidecar.get("method")
    return Said(shifts, method if isinstance(method, str) else None, says=scalars(sidecar))


def _sidecar(source: Source) -> Any:
    return source.json(source.path.with_suffix(".json").name)


SAKLAS = ForeignFormat("a profile of saklas (.safetensors)", read, recognises)
