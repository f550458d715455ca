"""`procrustes`: the rotation that brings the parent's centred states closest to the child's (arXiv 2311.00664)."""

from __future__ import annotations

from lm_eval_steer.interventions.width_maps.fitted import Fitted, FittedMap, fitted
from lm_eval_steer.interventions.width_maps.moments import moments
from lm_eval_steer.interventions.width_maps.pairing import Pairing
from lm_eval_steer.svd import svd

_NOTHING = 1e-12
"""Singular values below this share of the largest are rounding."""


def fit(pairing: Pairing, parameter: float | None, seed: int) -> Fitted:
    """Q = UV' where USV' = X'Y of centred states.

    Where one model is wider, or where states span less than both, Q turns the part that they share and leaves out the
    rest: only pairs of singular vectors count along which the states vary together.
    """
    sums = moments(pairing)
    left, values, right = svd(sums.centred_xy)
    kept = min(int((values > _NOTHING * values[0]).sum()), sums.n - 1)
    return fitted(sums, left[:, :kept] @ right[:kept], keeps_scale=False)


def needs(widths: tuple[int, int], parameter: float | None) -> int:
    """Two rows, since one has no spread."""
    return 2


PROCRUSTES = FittedMap("the closest rotation", fit, needs)
