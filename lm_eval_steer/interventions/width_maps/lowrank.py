"""`lowrank:k`: between the k strongest directions of each model's states (arXiv 2604.06377)."""

from __future__ import annotations

import numpy as np
from scipy.linalg import eigh

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.width_maps.fitted import Fitted, FittedMap, Parameter, fitted
from lm_eval_steer.interventions.width_maps.moments import moments
from lm_eval_steer.interventions.width_maps.pairing import Pairing

_NOTHING = 1e-13
"""Eigenvalues below this share of the largest are rounding: states do not vary along them."""


def fit(pairing: Pairing, parameter: float | None, seed: int) -> Fitted:
    """T = V_p M V_c', with M = argmin |X V_p M - Y V_c|, of states as they are, not centred.

    V_p and V_c are the first k right singular vectors of X and Y, which are eigenvectors of X'X and Y'Y.
    """
    sums, rank = moments(pairing), int(parameter or 1)
    values, ours = _strongest(sums.xx, rank)
    _, theirs = _strongest(sums.yy, rank)
    inverse = np.where(values > _NOTHING * values[-1], 1 / np.maximum(values, np.finfo(float).tiny), 0)
    between = inverse[:, None] * (ours.T @ sums.xy @ theirs)
    return fitted(sums, ours @ between @ theirs.T)


def _strongest(square: np.ndarray, rank: int) -> tuple[np.ndarray, np.ndarray]:
    """The largest eigenvalues, ascending [rank], and their eigenvectors [width, rank]."""
    width = len(square)
    values, vectors = eigh(square, subset_by_index=(width - rank, width - 1))
    return values, vectors


def needs(widths: tuple[int, int], parameter: float | None) -> int:
    """As many rows as the rank, which is at most the width of the narrower model.

    Raises:
        SteeringError: for a larger rank.
    """
    rank = int(parameter or 1)
    if rank > min(widths):
        raise SteeringError(
            f"width_map=lowrank:{rank} asks for {rank} directions, and the narrower model has {min(widths)} "
            f"components: use k from 1 to {min(widths)}"
        )
    return rank


LOWRANK = FittedMap(
    "least squares between the strongest directions",
    fit,
    needs,
    Parameter("k", "a whole number from 1 on", 16, lambda number: number >= 1, whole=True),
)
