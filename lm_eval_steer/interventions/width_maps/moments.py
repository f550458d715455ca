"""Sums over rows of states, from which linear maps follow: memory does not grow with the number of texts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.width_maps.pairing import Pairing


@dataclass(frozen=True, eq=False)
class Moments:
    """Sums of products of states X [rows, parent width] and Y [rows, child width], in float64, not centred.

    Attributes:
        n: how many rows.
        mean_x: [parent width].
        mean_y: [child width].
        xx: X'X [parent width, parent width].
        xy: X'Y [parent width, child width].
        yy: Y'Y [child width, child width].
    """

    n: int
    mean_x: np.ndarray
    mean_y: np.ndarray
    xx: np.ndarray
    xy: np.ndarray
    yy: np.ndarray

    @property
    def centred_xx(self) -> np.ndarray:
        """X'X of states from which their mean was taken [parent width, parent width]."""
        return self.xx - self.n * np.outer(self.mean_x, self.mean_x)

    @property
    def centred_xy(self) -> np.ndarray:
        """X'Y of states from which their means were taken [parent width, child width]."""
        return self.xy - self.n * np.outer(self.mean_x, self.mean_y)


def moments(pairing: Pairing) -> Moments:
    """The sums over all rows, in one pass, a chunk at a time.

    Products are of float64, too: a few components of a residual stream are thousands of times the others, and float32
    would lose these behind the means of those.

    Raises:
        SteeringError: without rows, and where a state is no finite number.
    """
    parent, child = pairing.widths
    sum_x, sum_y = np.zeros(parent), np.zeros(child)
    xx, xy, yy = np.zeros((parent, parent)), np.zeros((parent, child)), np.zeros((child, child))
    for chunk_x, chunk_y in pairing.chunks():
        x, y = chunk_x.astype(np.float64), chunk_y.astype(np.float64)
        sum_x += x.sum(axis=0)
        sum_y += y.sum(axis=0)
        refuse_no_numbers("parent", sum_x)
        refuse_no_numbers("child", sum_y)
        xx += x.T @ x
        xy += x.T @ y
        yy += y.T @ y
    if pairing.n == 0:
        raise SteeringError("there are 0 rows of states to fit a width map on: give texts")
    return Moments(pairing.n, sum_x / pairing.n, sum_y / pairing.n, xx, xy, yy)


def refuse_no_numbers(model: str, states: np.ndarray) -> None:
    """Refuse states, or sums of them, that hold NaN or infinity.

    Args:
        model: `parent` or `child`, for the sentence.
        states: [..., width].

    Raises:
        SteeringError: with how many components are concerned.
    """
    if not np.isfinite(states).all():
        bad = int((~np.isfinite(states)).reshape(-1, states.shape[-1]).any(axis=0).sum())
        raise SteeringError(
            f"the {model}'s states hold NaN or infinity in {bad} of {states.shape[-1]} components: load it in a dtype "
            "that holds them, as in dtype=float32"
        )
