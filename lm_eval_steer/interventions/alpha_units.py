"""Strengths that count in what an extraction measured of ⟨h, v⟩ on its texts, block by block.

| unit         | a strength of 1                                    | the value 0, where an operator sets one |
|--------------|----------------------------------------------------|-----------------------------------------|
| `sigma`      | a standard deviation over the texts of both sides  | midway between the means of both sides  |
| `projection` | from the mean of the negative side to the positive | the mean of the negative side           |
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

import numpy as np

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.shapes import is_number
from lm_eval_steer.sites import Place, place_of, told
from lm_eval_steer.vectors.identity import Identity
from lm_eval_steer.vectors.several import AnyVector

FIELDS = ("projection_negative", "projection_positive", "projection_deviation")
"""Of a passport's block: mean of ⟨h, v⟩ on the negative and on the positive side, standard deviation on both."""


@dataclass(frozen=True)
class Scale:
    """What a strength of some unit comes to at one block, in lengths along v.

    Attributes:
        origin: of the strength 0, for operators that set a value.
        step: of a strength of 1.

    With heads both are of each head [heads, 1].
    """

    origin: Any
    step: Any

    def length(self, strength: float, sets: bool) -> float:
        """A strength in lengths along v; `sets` says whether it is a value that is set."""
        return float(self.step * strength + (self.origin if sets else 0.0))


PLAIN = Scale(0.0, 1.0)
"""Of strengths that are lengths already."""


def scales(vector: AnyVector, unit: str, blocks: int, width: int, model: Identity, given: str) -> dict[Place, Scale]:
    """The scale of each place of a vector.

    Args:
        vector: that is to steer.
        unit: `sigma` or `projection`.
        blocks: how many blocks the model has that is steered.
        width: its hidden size.
        model: which one it is.
        given: the argument that asks for them, for sentences.

    Raises:
        SteeringError: where nothing was measured, or in another model.
    """
    if vector.transfer is not None:
        raise SteeringError(
            f"{given} counts in what was measured where a vector was read, and this one was transferred to "
            f"{vector.space['name']}: leave it out, or extract a vector from that model"
        )
    parent = vector.passport["parent"]
    if (parent["num_blocks"], parent["hidden_size"]) != (blocks, width) or not Identity.of(parent).is_same(model):
        read = Identity.of(parent).told(parent["num_blocks"], parent["hidden_size"])
        raise SteeringError(
            f"{given} counts in what was measured in {read}, and this model is {model.told(blocks, width)}: leave it "
            "out, or extract a vector from this model"
        )
    found = {}
    for part in (vector.at(site) for site in vector.sites):
        said = part.passport.get("blocks")
        entries = {one.get("block"): one for one in said if isinstance(one, dict)} if isinstance(said, list) else {}
        for layer, direction in zip(part.layers, part.directions, strict=True):
            place = place_of(part.site, layer)
            found[place] = _scale(unit, place, entries.get(layer, {}), direction, given)
    return found


def _scale(unit: str, place: Place, said: Mapping[str, Any], direction: np.ndarray, given: str) -> Scale:
    by_head = direction.ndim > 1  # then a field holds a number of each head
    known = {field: said.get(field) if by_head else [said.get(field)] for field in FIELDS}
    counts = len(direction) if by_head else 1
    if missing := [field for field, one in known.items() if not (_are_numbers(one) and len(one) == counts)]:
        raise SteeringError(
            f"{given} needs {missing[0]} of {told(place)}, which the vector file does not have: extract the vector "
            "again, which measures it, or leave it out"
        )
    rows = [np.asarray(known[field], dtype=np.float64) for field in FIELDS]
    negative, positive, deviation = (row[:, None] if by_head else float(row[0]) for row in rows)
    if unit == "sigma":
        return Scale((negative + positive) / 2, deviation)
    return Scale(negative, positive - negative)


def _are_numbers(values: Any) -> TypeGuard[list[float]]:
    return isinstance(values, list) and all(map(is_number, values))
