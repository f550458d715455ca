"""Operators that apply what a file brings, maps of low rank, and the files that others take."""

from __future__ import annotations

import numpy as np

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.operators import OF_THE_FILE, OPERATORS
from lm_eval_steer.interventions.operators.low_rank import as_rows
from lm_eval_steer.vectors.identity import Identity
from lm_eval_steer.vectors.several import AnyVector


def refuse_other_files(operator: str, vector: AnyVector | None, second: AnyVector | None) -> None:
    """Refuse a file of maps for an operator of directions, and the other way round.

    Raises:
        SteeringError: says which operator the file is for.
    """
    if OPERATORS[operator].directions == OF_THE_FILE:
        if vector is not None and not _has_maps(vector):
            raise SteeringError(
                f"operator={operator} applies a map of low rank, and the vector file holds directions alone: name "
                "a file of maps, which lm-eval-steer vectors import makes, or use another operator"
            )
        return
    if vector is not None and _has_maps(vector):
        raise SteeringError(
            f"the vector file holds maps of low rank, and operator={operator} takes directions: use "
            "operator=low_rank, or name another file"
        )
    if second is not None and _has_maps(second):
        second.at(second.sites[0]).refuse_maps("second")


def refuse_other_model(vector: AnyVector, blocks: int, width: int, model: Identity, allow: bool) -> None:
    """Refuse maps of another model than the one that is to be steered.

    Args:
        vector: with maps.
        blocks: how many blocks the model has.
        width: its hidden size.
        model: what is known of it.
        allow: whether another model of the same width and depth may pass.

    Raises:
        SteeringError: names both.
    """
    said = vector.passport["parent"]
    parent, same_shape = (
        Identity.of(vector.passport["parent"]),
        (said["num_blocks"], said["hidden_size"]) == (blocks, width),
    )
    if same_shape and (allow or parent.is_same(model)):
        return
    advice = ", or set allow_other_child=True (the result file says so)" if same_shape else ""
    raise SteeringError(
        f"the maps of low rank are of {parent.told(said['num_blocks'], said['hidden_size'])}, and this model is "
        f"{model.told(blocks, width)}: name those of this model{advice}"
    )


def _has_maps(vector: AnyVector) -> bool:
    return any(vector.at(site).maps for site in vector.sites)


def rows_of(vector: AnyVector, block: int) -> np.ndarray:
    """The map of a block as an edit has it, float32 [1 + 2 rank, hidden]."""
    one = vector.at(vector.sites[0]).maps[block]
    return as_rows(one.read, one.shift, one.write)
