"""Singular values, for any finite matrix."""

from __future__ import annotations

import numpy as np


def svd(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """U [m, k], S [k] and Vᵀ [k, n] of matrix = U S Vᵀ, k the smaller of m and n.

    By LAPACK's gesdd, which is fast and, of some matrices that lack rank, does not converge; then by gesvd.

    Args:
        matrix: [m, n], finite.
    """
    try:
        left, values, right = np.linalg.svd(matrix, full_matrices=False)
    except np.linalg.LinAlgError:
        import scipy.linalg  # a tenth of a second, for what is rare

        left, values, right = scipy.linalg.svd(matrix, full_matrices=False, lapack_driver="gesvd")
    return left, values, right
