"""What a bias can do of an intervention: shift the output of a block by one vector, at every position alike."""

from __future__ import annotations

import numpy as np

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.intervention import Intervention
from lm_eval_steer.interventions.operators import OPERATORS
from lm_eval_steer.sites import DEFAULT


def constant_shifts(intervention: Intervention) -> dict[int, np.ndarray]:
    """Block -> what is added to its output at every position, strength times direction, float32 [hidden].

    Raises:
        SteeringError: where nothing is steered, or where what is added depends on the position or on its state.
    """
    if not intervention.acts:
        raise SteeringError("a strength of 0 leaves the child as it is: there is nothing to fold")
    if intervention.tokens != "all":
        raise SteeringError(f"a bias acts at every position, and tokens={intervention.tokens} does not: steer in a run")
    if others := [site for site in intervention.sites if site != DEFAULT]:
        raise SteeringError(f"a fold shifts outputs of blocks, and site={others[0]} is another place: steer in a run")
    if intervention.unit != "length":
        raise SteeringError(
            f"a bias has one length, and a strength in the unit {intervention.unit} has not: give alpha"
        )
    for edit in intervention.edits:
        if not OPERATORS[edit.operator].is_shift:
            raise SteeringError(f"a bias adds, and operator={edit.operator} does something else: steer in a run")
    return {edit.block: np.float32(edit.strength) * edit.direction for edit in intervention.edits}
