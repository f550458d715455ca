"""How alike two models arrange the same texts, block by block: linear CKA without the bias of few texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from lm_eval_steer.errors import SteeringError

States = np.ndarray | Callable[[], np.ndarray]
"""Of one block [rows, width], or what gives them when they are needed."""

MOST_ROWS = 1000
"""Rows that are compared; of more, so many at even distances are."""

_LEAST_ROWS = 4
"""The estimator divides by rows - 3."""

_NOTHING = 1e-20
"""States whose spread is below this share of their squares are all alike but for rounding."""


def debiased_cka(xs: Sequence[States], ys: Sequence[States]) -> np.ndarray:
    """Centred kernel alignment of each block of one model with each of another, on the same texts.

    HSIC(X, Y) / √(HSIC(X, X) · HSIC(Y, Y)) of linear kernels, with the unbiased estimator of HSIC (Song et al. 2012;
    Nguyen et al. 2021, arXiv 2010.15327): 1 for states that are a rotation and a scaling of one another, about 0 for
    those that have nothing to do with one another, where the biased form would be far above 0 with few texts. Blocks
    whose states are all alike have 0 with any.

    Memory is one block's states, and rows²/2 numbers for each block of `ys`.

    Args:
        xs: states of each block of the parent, rows in the same order everywhere.
        ys: of each block of the child.

    Returns:
        float64 [parent blocks, child blocks].

    Raises:
        SteeringError: for fewer than four rows, and for states that are no finite numbers.
    """
    theirs = np.stack([_products("child", block, states) for block, states in enumerate(ys)])
    return np.stack([theirs @ _products("parent", block, states) for block, states in enumerate(xs)])


def _products(model: str, block: int, states: States) -> np.ndarray:
    """Products of all pairs of rows, centred so that their inner products are unbiased HSIC, at length 1: [pairs].

    With K = XX' and a diagonal of zeros, the centred K_ij is K_ij - k_i/(n-2) - k_j/(n-2) + k/((n-1)(n-2)), where k_i
    are sums of rows and k is the sum of all; the sum of products of two such matrices off the diagonal is n(n-3) times
    the unbiased HSIC (Székely and Rizzo 2014).
    """
    x = (states() if callable(states) else states).astype(np.float64)
    if len(x) > MOST_ROWS:
        x = x[np.linspace(0, len(x) - 1, MOST_ROWS).astype(int)]
    n = len(x)
    if n < _LEAST_ROWS:
        raise SteeringError(f"the similarity of blocks needs at least {_LEAST_ROWS} texts and has {n}: give more texts")
    if not np.isfinite(x).all():
        raise SteeringError(
            f"the {model}'s states hold NaN or infinity in block {block}: load it in a dtype that holds them, as in "
            "dtype=float32"
        )
    square = np.square(x).sum()
    x -= x.mean(axis=0)  # takes nothing from the result and rounding from the products
    products = x @ x.T
    spread = np.trace(products)
    np.fill_diagonal(products, 0)
    sums = products.sum(axis=0) / (n - 2)
    products -= sums
    products -= sums[:, None]
    products += sums.sum() / (n - 1)
    pairs = products[np.triu_indices(n, 1)]
    length = np.linalg.norm(pairs)
    return np.zeros_like(pairs) if spread <= _NOTHING * square or length == 0 else pairs / length
