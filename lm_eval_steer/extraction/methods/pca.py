"""`pca`: the first principal component of the shuffled differences, its sign by the labels (RepE's PCARepReader)."""

from __future__ import annotations

import numpy as np
from sklearn.decomposition import PCA


def pca(differences: np.ndarray, orders: np.ndarray) -> np.ndarray:
    """The axis of the largest spread, turned so that most positive sides project higher.

    Args:
        differences: float64 [pairs, hidden], positive minus negative.
        orders: int [pairs] of +1 and -1. PCA centres its input, so that differences of one order would lose their mean.

    Returns:
        direction [hidden].
    """
    vector = np.asarray(PCA(n_components=1, svd_solver="full").fit(differences * orders[:, None]).components_[0])
    higher = differences @ vector
    return -vector if np.mean(higher > 0) < np.mean(higher < 0) else vector
