"""What the plan's arguments mean for an operator: checked together, and directions put side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.controls import Control
from lm_eval_steer.interventions.operators import OF_THE_FILE, OPERATORS, WORDS
from lm_eval_steer.sites import Place, told
from lm_eval_steer.text import quoted

KEEPS_NORM = "add_keep_norm"
"""The operator that `normalize` stands for."""

PARALLEL = 1 - 1e-6
"""Two directions are parallel where the cosine between them is larger."""


def read_operator(given: Mapping[str, Any], operator: str, normalize: bool) -> str:
    """The operator that two arguments say together.

    Args:
        given: the arguments that were given.
        operator: of that name, or its default.
        normalize: of that name, or its default.

    Raises:
        SteeringError: where they contradict each other.
    """
    if "operator" not in given:
        return KEEPS_NORM if normalize else operator
    if "normalize" in given and normalize != (operator == KEEPS_NORM):
        raise SteeringError(f"normalize={normalize} and operator={operator} contradict each other: give one of them")
    return operator


def refuse_meaningless(operator: str, *, dose: Any, unit: str, control: Control | None, second: Any) -> None:
    """Refuse what has no meaning for an operator.

    Args:
        operator: a name in `OPERATORS`.
        dose: as it is given; None where it is not.
        unit: of the strengths.
        control: that takes the vector's place; None for none.
        second: the second vector; None for none.

    Raises:
        SteeringError: for a dose or a unit where the strength is no length, for both of them, for an opposite direction
            that does the same, and for a vector too few or too many.
    """
    entry = OPERATORS[operator]
    if unit != "length" and dose is not None:
        raise SteeringError(f"dose={quoted(dose)} is a share of ‖h‖, and unit={unit} is of alpha: give one of them")
    if unit != "length" and entry.strength != "length":
        raise SteeringError(
            f"unit={unit} is of a length, and the strength of operator={operator} is {WORDS[entry.strength]}: leave "
            "unit out"
        )
    if dose is not None and entry.strength != "length":
        raise SteeringError(
            f"dose={quoted(dose)} is a length, and the strength of operator={operator} is {WORDS[entry.strength]}: "
            "give it as alpha"
        )
    if control is not None and control.is_opposite and not entry.signed:
        raise SteeringError(
            f"control={control.name} turns the directions round, and operator={operator} does the same along both: use "
            "another control"
        )
    if control is not None and control.steers and entry.directions == OF_THE_FILE:
        raise SteeringError(
            f"control={control.name} puts other directions in place of the vector's, and operator={operator} applies a "
            "map: use identity or self-consistency, or another operator"
        )
    if entry.directions > 1 and second is None:
        raise SteeringError(
            f"operator={operator} takes two directions: name a second vector, as in second=other.safetensors"
        )
    if entry.directions < 2 and second is not None:
        takes = "one direction" if entry.directions == 1 else "a map of low rank"
        raise SteeringError(f"operator={operator} takes {takes}, and second= names another: leave second out")


def side_by_side(
    operator: str, directions: Mapping[Place, np.ndarray], others: Mapping[Place, np.ndarray]
) -> dict[Place, np.ndarray]:
    """Each direction with the second one of its place, float32 [2, hidden], or [heads, 2, head_dim].

    Args:
        operator: that takes them.
        directions: place -> of the vector, or of its control [hidden].
        others: place -> of the second vector [hidden].

    Raises:
        SteeringError: for a block without a second direction, and for two that are parallel.
    """
    if missing := [place for place in directions if place not in others]:
        raise SteeringError(
            f"second has no direction for {told(missing[0])}, which is steered: leave it out with layers=, or name "
            "another vector as second"
        )
    both = {place: np.stack([direction, others[place]], axis=-2) for place, direction in directions.items()}
    for place in both:
        one, two = directions[place], others[place]
        lengths = np.linalg.norm(one, axis=-1) * np.linalg.norm(two, axis=-1)
        if (np.abs((one * two).sum(axis=-1)) > PARALLEL * lengths).any():
            raise SteeringError(
                f"the directions of vectors and second are parallel in {told(place)}, and operator={operator} takes "
                "two that differ: name another vector as second"
            )
    return both
