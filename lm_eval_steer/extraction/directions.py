"""From differences of block outputs to one unit direction per block (Zou et al. 2023, RepE; paper, Algorithm 1)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.model_selection import KFold

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.extraction.methods import METHODS

FOLDS = 5


@dataclass(frozen=True, eq=False)
class Direction:
    """A direction of one block and how well it describes the pairs.

    Attributes:
        vector: float32 [hidden], length 1, pointing from negative to positive.
        explained_variance: share of the variance of the shuffled differences that lies along it.
        cos_mean_difference: cosine with the mean difference of the pairs.
        held_out_separation: share of pairs whose positive side projects higher, each pair judged by a direction
            that was fitted without it (5-fold).
    """

    vector: np.ndarray
    explained_variance: float
    cos_mean_difference: float
    held_out_separation: float


def shuffle_orders(n: int, seed: int) -> np.ndarray:
    """Order inside each pair: +1 keeps (positive, negative), -1 swaps it; of an odd number one more +1. int [n].

    PCA centres its input. With all pairs in one order the mean difference, the very thing wanted, would be
    subtracted; with half of the orders swapped it stays in as the largest spread, however few the pairs are.
    """
    return np.random.default_rng(seed).permutation(np.resize([1, -1], n))


def find_direction(
    differences: np.ndarray, orders: np.ndarray, method: str = "pca", normalize_differences: bool = False
) -> Direction:
    """The direction of one block.

    Args:
        differences: float32 [pairs, hidden], positive minus negative.
        orders: int [pairs] of +1 and -1 (`shuffle_orders`).
        method: a name in `METHODS`.
        normalize_differences: bring each difference to length 1 first (the paper's formula).

    Raises:
        SteeringError: when the pairs do not differ or are fewer than two, for a method that is not there, and for one
            that returns no direction of the width of its differences.
    """
    if len(differences) < 2:
        raise SteeringError(f"{len(differences)} pair is not enough to find a direction: use at least 2")
    differences = differences.astype(np.float64)
    if not np.isfinite(differences).all():
        raise SteeringError("the block outputs hold NaN or infinite numbers: try another dtype for the parent")
    if normalize_differences:
        lengths = np.linalg.norm(differences, axis=1, keepdims=True)
        differences = differences / np.where(lengths == 0, 1, lengths)
    vector = _fit(differences, orders, method)
    shuffled = differences * orders[:, None]
    total = shuffled.var(axis=0).sum()
    mean = differences.mean(axis=0)
    length = float(np.linalg.norm(mean))
    return Direction(
        vector=vector.astype(np.float32),
        explained_variance=float((shuffled @ vector).var() / total) if total else 0.0,
        cos_mean_difference=float(vector @ mean / length) if length else 0.0,
        held_out_separation=_held_out_separation(differences, method),
    )


def _fit(differences: np.ndarray, orders: np.ndarray, method: str) -> np.ndarray:
    """What a method finds, brought to length 1."""
    vector = METHODS[method](differences, orders)
    if vector.shape != differences.shape[1:]:
        raise SteeringError(
            f"the extraction method {method} returns {list(vector.shape)} for differences of the shape "
            f"{list(differences.shape)}: let it return [{differences.shape[1]}]"
        )
    length = float(np.linalg.norm(vector))
    if not np.isfinite(length) or length < 1e-12:
        raise SteeringError("positive and negative sides give the same block outputs: the pairs do not differ")
    return vector / length


def _held_out_separation(differences: np.ndarray, method: str) -> float:
    folds = KFold(n_splits=min(FOLDS, len(differences)), shuffle=True, random_state=0)
    hits = []
    for fitted, held_out in folds.split(differences):
        vector = _fit(differences[fitted], shuffle_orders(len(fitted), 0), method)  # half and half of these, too
        hits.extend(differences[held_out] @ vector > 0)
    return float(np.mean(hits))
