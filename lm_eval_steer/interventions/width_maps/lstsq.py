"""`lstsq`: ordinary least squares from the parent's centred states to the child's (arXiv 2501.02009, 2506.00653)."""

from __future__ import annotations

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve
from scipy.linalg.lapack import dpocon

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.width_maps.fitted import Fitted, FittedMap, fitted
from lm_eval_steer.interventions.width_maps.moments import moments
from lm_eval_steer.interventions.width_maps.pairing import Pairing

_SINGULAR = 1e-13
"""Reciprocal condition of X'X, components at length 1, below which a solution would be rounding."""


def fit(pairing: Pairing, parameter: float | None, seed: int) -> Fitted:
    """T = (X'X)⁻¹ X'Y of centred states.

    Raises:
        SteeringError: where the parent's states do not span its width.
    """
    sums = moments(pairing)
    xx = sums.centred_xx
    lengths = np.sqrt(np.maximum(np.diag(xx), 0))[:, None]
    lengths[lengths == 0] = 1
    alike = xx / (lengths * lengths.T)  # of components at length 1: a few are thousands of times the others
    try:
        factor = cho_factor(alike, lower=True)
        condition, _ = dpocon(factor[0], np.abs(alike).sum(axis=0).max(), uplo="L")
    except LinAlgError:
        condition = 0
    if condition < _SINGULAR:
        raise SteeringError(
            f"the parent's states on {sums.n} rows do not span its width of {len(xx)}, so that lstsq has no single "
            "solution: take ridge, which has one for any states, or give more texts"
        )
    return fitted(sums, cho_solve(factor, sums.centred_xy / lengths) / lengths)


def needs(widths: tuple[int, int], parameter: float | None) -> int:
    """One row more than the parent is wide, since the mean takes one."""
    return widths[0] + 1


LSTSQ = FittedMap("least squares", fit, needs)
