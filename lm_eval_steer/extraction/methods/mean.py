"""`mean`: the mean difference of the pairs, as CAA has it."""

from __future__ import annotations

import numpy as np


def mean(differences: np.ndarray, orders: np.ndarray) -> np.ndarray:
    """The mean of differences [pairs, hidden]: a direction [hidden]. Orders do not matter to it."""
    return np.asarray(differences.mean(axis=0))
