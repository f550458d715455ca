"""Fitted width maps: against scipy, scikit-learn and plain readings of their formulas, and on states that are twins."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import orthogonal_procrustes
from sklearn.linear_model import LinearRegression, Ridge

from lm_eval_steer.interventions.width_maps import Arrays, Fitted, moments, r2, read_width_map


def states(n: int = 200, parent: int = 24, child: int = 16, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Float32 states of two models that see the same things, with means and with one component that is huge."""
    rng = np.random.default_rng(seed)
    common = rng.normal(size=(n, 30))
    x, y = (common @ rng.normal(size=(30, width)) + rng.normal(size=(n, width)) for width in (parent, child))
    x[:, 3] = 5000 + 100 * x[:, 3]
    y[:, 1] = 900 - 30 * y[:, 1]
    return x.astype(np.float32), y.astype(np.float32)


def fit(text: str, x: np.ndarray, y: np.ndarray, seed: int = 0, chunk: int = 64) -> Fitted:
    return read_width_map(text).fit(Arrays(x, y, chunk), seed)


def centred(states: np.ndarray) -> np.ndarray:
    exact = states.astype(np.float64)
    return exact - exact.mean(axis=0)


def rotation(width: int, seed: int = 0) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(width, width)))[0]


def whole(found: Fitted) -> np.ndarray:
    return found.apply(np.eye(len(found.into)))


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


def test_moments_are_those_of_the_whole_arrays() -> None:
    x, y = states()
    sums = moments(Arrays(x, y, chunk=7))
    assert sums.n == 200
    assert np.allclose(sums.mean_x, x.astype(float).mean(axis=0), rtol=1e-12)
    assert np.allclose(sums.xx, x.astype(float).T @ x, rtol=1e-12)
    assert np.allclose(sums.yy, y.astype(float).T @ y, rtol=1e-12)
    assert np.allclose(sums.centred_xx, centred(x).T @ centred(x), rtol=1e-9, atol=1e-5)
    assert np.allclose(sums.centred_xy, centred(x).T @ centred(y), rtol=1e-9, atol=1e-5)


def test_lstsq_is_linear_regression() -> None:
    x, y = states()
    found = fit("lstsq", x, y)
    expected = LinearRegression().fit(x.astype(float), y.astype(float))
    assert np.allclose(whole(found), expected.coef_.T, rtol=1e-7, atol=1e-8)
    assert np.allclose(found.predict(x), expected.predict(x.astype(float)), rtol=1e-7, atol=1e-6)


@pytest.mark.parametrize("penalty", [1e-6, 0.05, 3])
def test_ridge_is_that_of_scikit_learn(penalty: float) -> None:
    x, y = states()
    found = fit(f"ridge:{penalty}", x, y)
    mean = np.linalg.eigvalsh(centred(x).T @ centred(x)).mean()
    expected = Ridge(alpha=penalty * mean).fit(x.astype(float), y.astype(float))
    assert np.allclose(whole(found), expected.coef_.T, rtol=1e-7, atol=1e-9)
    assert np.allclose(found.predict(x), expected.predict(x.astype(float)), rtol=1e-7, atol=1e-6)


def test_ridge_has_a_map_where_there_are_fewer_texts_than_components() -> None:
    x, y = states(n=9)
    expected = Ridge(alpha=0.05 * np.trace(centred(x).T @ centred(x)) / 24).fit(x.astype(float), y.astype(float))
    assert np.allclose(whole(fit("ridge", x, y)), expected.coef_.T, rtol=1e-7, atol=1e-9)


def test_procrustes_is_that_of_scipy() -> None:
    x, y = states(child=24)
    found = fit("procrustes", x, y)
    expected, total = orthogonal_procrustes(centred(x), centred(y))
    assert np.allclose(whole(found), expected, atol=1e-9)
    assert found.scale == pytest.approx(total / np.square(centred(x)).sum())  # what brings X Q closest to Y


@pytest.mark.parametrize(("parent", "child"), [(24, 16), (16, 24)])
def test_procrustes_between_widths_is_the_closest_partial_rotation(parent: int, child: int) -> None:
    x, y = states(parent=parent, child=child)
    left, _, right = np.linalg.svd(centred(x).T @ centred(y), full_matrices=False)
    assert np.allclose(whole(fit("procrustes", x, y)), left @ right, atol=1e-9)


def test_procrustes_leaves_out_what_no_text_shows() -> None:
    """Of nine texts there are eight differences: the map turns eight dimensions, and nothing else is made up."""
    x, y = states(n=9)
    values = np.linalg.svd(whole(fit("procrustes", x, y)), compute_uv=False)
    assert np.allclose(values, [1] * 8 + [0] * 8, atol=1e-9)


@pytest.mark.parametrize("text", ["lstsq", "procrustes", "ridge:1e-8"])
def test_a_rotated_twin_is_brought_back(text: str) -> None:
    _, y = states(n=300, child=24)
    turn = rotation(24)
    x = y @ turn.astype(np.float32)
    own = np.random.default_rng(5).normal(size=24)
    found = fit(text, x, y)
    assert cosine(found.apply(own @ turn), own) >= 0.9999
    assert r2(found, Arrays(x, y)) == pytest.approx(1, abs=1e-4)
