"""`ridge:λ`: least squares, drawn to zero where the parent's states hardly vary (arXiv 2506.00653, 2603.18908)."""

from __future__ import annotations

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from lm_eval_steer.interventions.width_maps.fitted import Fitted, FittedMap, Parameter, fitted
from lm_eval_steer.interventions.width_maps.moments import moments
from lm_eval_steer.interventions.width_maps.pairing import Pairing

_LEAST, _MOST = 1e-9, 1e9
"""λ for which X'X + λI can be solved in float64 whatever the states are."""


def fit(pairing: Pairing, parameter: float | None, seed: int) -> Fitted:
    """T = (X'X + λ·m·I)⁻¹ X'Y of centred states, with m the mean eigenvalue of X'X, so that λ has no unit."""
    sums = moments(pairing)
    xx = sums.centred_xx
    mean = np.trace(xx) / len(xx)
    if not mean > 0:  # all rows alike: there is nothing to learn from
        return fitted(sums, np.zeros_like(sums.xy))
    xx[np.diag_indices_from(xx)] += float(parameter or 0) * mean
    return fitted(sums, cho_solve(cho_factor(xx), sums.centred_xy))


def needs(widths: tuple[int, int], parameter: float | None) -> int:
    """Two rows, since one has no spread."""
    return 2


RIDGE = FittedMap(
    "least squares with a penalty, relative to the mean eigenvalue",
    fit,
    needs,
    Parameter(
        "lambda", f"a number from {_LEAST:g} to {_MOST:g}", 0.05, lambda number: _LEAST <= number <= _MOST, default=0.05
    ),
)
