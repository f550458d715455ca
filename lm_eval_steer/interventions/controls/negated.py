"""`negated`: the opposite directions."""

from __future__ import annotations

import numpy as np

from lm_eval_steer.interventions.controls.kind import Directions, Kind


def negate(directions: Directions, seed: int | None = None) -> dict[int, np.ndarray]:
    """Every direction turned round."""
    return {block: -direction for block, direction in directions.items()}


NEGATED = Kind(negate, opposite=True)
