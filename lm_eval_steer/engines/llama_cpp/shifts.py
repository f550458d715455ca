"""What a control vector of llama.cpp can do of an intervention: α·v at every position of outputs of blocks above 0."""

from __future__ import annotations

import numpy as np

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.intervention import Intervention
from lm_eval_steer.interventions.operators import OPERATORS
from lm_eval_steer.sites import DEFAULT


def control_vector(one: Intervention, depth: int) -> dict[int, np.ndarray]:
    """Block -> what is added to its output, float32 [hidden]; none where nothing is steered.

    Args:
        one: the intervention.
        depth: how many blocks the model has.

    Raises:
        SteeringError: for what a control vector cannot do.
    """
    if one.sample is not None:
        raise SteeringError("steered-gguf draws no texts, as control=self-consistency asks for: use steered-hf")
    if one.regrouped:
        raise SteeringError(
            "control=identity forms other batches, and steered-gguf runs a row at a time: use steered-hf"
        )
    if one.tokens != "all":
        raise SteeringError(
            f"tokens={one.tokens} is nothing that llama.cpp can do, which adds a control vector at every position: use "
            "tokens=all, or steered-hf"
        )
    if one.unit != "length":
        raise SteeringError(
            f"a {one.unit} hangs on the state that is steered, and llama.cpp adds the same everywhere: give alpha in "
            "place of it, or use steered-hf"
        )
    for edit in one.edits:
        operator = OPERATORS[edit.operator]
        if not operator.is_shift or operator.strength != "length":
            raise SteeringError(f"llama.cpp adds vectors and cannot {edit.operator}: use operator=add, or steered-hf")
        if edit.site != DEFAULT:
            raise SteeringError(
                f"site={edit.site} is out of llama.cpp's reach, which adds to outputs of blocks: use "
                f"site={DEFAULT}, or steered-hf"
            )
    if any(edit.block == 0 for edit in one.edits):
        raise SteeringError(
            f"llama.cpp steers no block 0: leave it out with layers=1-{depth - 1}, and measure steered-hf with the same"
        )
    return {edit.block: (np.float32(edit.strength) * edit.direction).astype(np.float32) for edit in one.edits}
