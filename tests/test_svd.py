"""lm_eval_steer/svd.py: one answer for every matrix, whichever of LAPACK's ways gives it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lm_eval_steer.svd import svd


@pytest.mark.parametrize("shape", [(7, 4), (4, 7), (5, 5)])
def test_a_matrix_without_rank_that_gesdd_gives_up_is_decomposed(
    shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = np.random.default_rng(0)
    matrix = draw.normal(size=(shape[0], 2)) @ draw.normal(size=(2, shape[1]))
    usual = svd(matrix)

    def gives_up(*_: Any, **__: Any) -> Any:
        raise np.linalg.LinAlgError("SVD did not converge")

    monkeypatch.setattr(np.linalg, "svd", gives_up)
    left, values, right = svd(matrix)
    assert [one.shape for one in (left, values, right)] == [one.shape for one in usual]
    np.testing.assert_allclose((left * values) @ right, matrix, atol=1e-12)
    np.testing.assert_allclose(values, usual[1], atol=1e-12)
    np.testing.assert_allclose(left[:, :2] @ right[:2], usual[0][:, :2] @ usual[2][:2], atol=1e-12)
