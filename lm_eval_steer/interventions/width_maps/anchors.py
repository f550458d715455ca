"""`anchors:n`: a direction by its cosines with n texts, which mean the same in every model (arXiv 2605.09875)."""

from __future__ import annotations

import numpy as np

from lm_eval_steer.interventions.width_maps.fitted import Fitted, FittedMap, Parameter, fitted
from lm_eval_steer.interventions.width_maps.moments import moments, refuse_no_numbers
from lm_eval_steer.interventions.width_maps.pairing import Pairing


def fit(pairing: Pairing, parameter: float | None, seed: int) -> Fitted:
    """u = A_p v and v_c = A_c' u, where the rows of A are states of n drawn texts, centred by their mean, at length 1.

    Nothing is fitted. The coordinates u are those of the concept, whichever model it is read from, so that several
    parents are averaged there (`combine`).
    """
    drawn = np.random.default_rng(seed).choice(pairing.n, int(parameter or 2), replace=False)
    ours, theirs = pairing.rows(np.sort(drawn).tolist())
    return fitted(moments(pairing), _unit_rows("parent", ours).T, _unit_rows("child", theirs), keeps_scale=False)


def _unit_rows(model: str, states: np.ndarray) -> np.ndarray:
    """States [n, width] without their mean, each at length 1; one that is the mean stays zero."""
    refuse_no_numbers(model, states)
    centred = states.astype(np.float64)
    centred -= centred.mean(axis=0)
    lengths = np.linalg.norm(centred, axis=1, keepdims=True)
    return np.asarray(centred / np.where(lengths > 0, lengths, 1))


def needs(widths: tuple[int, int], parameter: float | None) -> int:
    """As many rows as there are anchors."""
    return int(parameter or 2)


ANCHORS = FittedMap(
    "cosines with the states of texts",
    fit,
    needs,
    Parameter("n", "a whole number from 2 on", 300, lambda number: number >= 2, whole=True),
)
