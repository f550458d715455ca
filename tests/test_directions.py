"""Directions against RepE's PCARepReader, written anew from its description, and against hand-made pairs."""

from __future__ import annotations

import numpy as np
import pytest

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.extraction.directions import find_direction, shuffle_orders
from lm_eval_steer.extraction.methods import METHODS


def hidden_states(pairs: int = 60, width: int = 24, seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Positive and negative hidden states with a shift of unequal sizes between them, and shared noise."""
    rng = np.random.default_rng(seed)
    base = rng.normal(size=(pairs, width)) * 3
    concept = rng.normal(size=width)
    positive = base + concept * rng.uniform(0.5, 1.5, size=(pairs, 1)) + rng.normal(size=(pairs, width)) * 0.4
    return positive, base


def rep_reader(positive: np.ndarray, negative: np.ndarray, orders: np.ndarray, normalize: bool = False) -> np.ndarray:
    """What RepE does, by eigenvectors of a covariance matrix: the texts of each pair stand in random order and carry a
    label each; the hidden states of the second are taken from those of the first, centred, and the first principal
    axis is kept. Its sign is that under which, in most pairs, the text labelled 1 has the larger projection of the
    (centred) hidden states themselves."""
    first = np.where(orders[:, None] == 1, positive, negative)
    second = np.where(orders[:, None] == 1, negative, positive)
    relative = first - second
    if normalize:
        relative = relative / np.linalg.norm(relative, axis=1, keepdims=True)
    centre = relative.mean(axis=0)
    centred = relative - centre
    values, vectors = np.linalg.eigh(centred.T @ centred)
    axis = vectors[:, np.argmax(values)]
    projections = np.stack([(first - centre) @ axis, (second - centre) @ axis], axis=1)
    labelled = np.where(orders == 1, 0, 1)  # where the text with label 1 stands
    chosen = projections[np.arange(len(orders)), labelled]
    largest = np.mean(chosen == projections.max(axis=1))
    smallest = np.mean(chosen == projections.min(axis=1))
    return axis if largest >= smallest else -axis


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("normalize", [False, True])
def test_pca_is_rep_reader(seed: int, normalize: bool) -> None:
    positive, negative = hidden_states(seed=seed)
    orders = shuffle_orders(len(positive), seed)
    ours = find_direction((positive - negative).astype(np.float32), orders, "pca", normalize)
    assert float(ours.vector @ rep_reader(positive, negative, orders, normalize)) >= 0.9999
    assert np.linalg.norm(ours.vector) == pytest.approx(1, abs=1e-6)


def test_pca_of_one_order_would_lose_the_concept() -> None:
    """The trap that the shuffling avoids."""
    positive, negative = hidden_states()
    differences = positive - negative
    shuffled = find_direction(differences, shuffle_orders(len(differences), 0))
    ordered = find_direction(differences, np.ones(len(differences)))
    assert shuffled.cos_mean_difference > 0.95
    assert abs(ordered.cos_mean_difference) < shuffled.cos_mean_difference


def test_mean_by_hand() -> None:
    differences = np.array([[3.0, 1.0], [3.0, -1.0], [6.0, 8.0]], dtype=np.float32)
    orders = np.array([1, -1, 1])
    plain = find_direction(differences, orders, "mean")
    assert np.allclose(plain.vector, np.array([12, 8]) / np.hypot(12, 8))
    assert plain.cos_mean_difference == pytest.approx(1)
    # Unit differences: (3,1)/√10, (3,-1)/√10, (0.6,0.8).
    unit = find_direction(differences, orders, "mean", normalize_differences=True)
    expected = np.array([6 / 10**0.5 + 0.6, 0.8])
    assert np.allclose(unit.vector, expected / np.linalg.norm(expected))


def test_explained_variance_by_hand() -> None:
    """Shuffled differences (2,0), (-2,0), (0,1), (0,-1): variances 2 and 0.5 along the axes."""
    differences = np.array([[2.0, 0.0], [2.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    direction = find_direction(differences, np.array([1, -1, 1, -1]))
    assert np.allclose(direction.vector, [1, 0])
    assert direction.explained_variance == pytest.approx(0.8)
    assert direction.cos_mean_difference == pytest.approx(2 / 5**0.5)


def test_held_out_separation_tells_a_concept_from_noise() -> None:
    positive, negative = hidden_states(pairs=100)
    orders = shuffle_orders(100, 0)
    assert find_direction(positive - negative, orders).held_out_separation > 0.95
    noise = np.random.default_rng(0).normal(size=(100, 24))
    assert 0.3 < find_direction(noise, orders).held_out_separation < 0.7


@pytest.mark.parametrize("n", [2, 3, 4, 5, 128, 1001])
def test_half_of_the_orders_are_swapped_whatever_the_seed(n: int) -> None:
    for seed in range(50):
        orders = shuffle_orders(n, seed)
        assert sorted(orders.tolist()) == [-1] * (n // 2) + [1] * (n - n // 2)
    assert n < 5 or orders.tolist() == shuffle_orders(n, 49).tolist() != shuffle_orders(n, 50).tolist()


def test_few_pairs_keep_their_concept_whatever_the_seed() -> None:
    """Four pairs in one order would be centred on their mean difference, and the direction and its sign be luck."""
    positive, negative = hidden_states(pairs=4)
    for seed in range(50):
        assert find_direction(positive - negative, shuffle_orders(4, seed)).cos_mean_difference > 0.95


def test_refusals() -> None:
    with pytest.raises(SteeringError, match="1 pair is not enough"):
        find_direction(np.ones((1, 4)), np.ones(1))
    with pytest.raises(SteeringError, match="the pairs do not differ"):
        find_direction(np.zeros((8, 4)), shuffle_orders(8, 0), "mean")
    with pytest.raises(SteeringError, match="NaN or infinite"):
        find_direction(np.full((8, 4), np.nan), shuffle_orders(8, 0))


def test_a_method_of_others_is_fitted_judged_and_brought_to_length_one() -> None:
    positive, negative = hidden_states()
    orders = shuffle_orders(len(positive), 0)
    METHODS.add("median", lambda differences, orders: np.median(differences, axis=0))
    METHODS.add("wide", lambda differences, orders: np.ones(3))
    try:
        found = find_direction(positive - negative, orders, "median")
        with pytest.raises(SteeringError, match=r"method wide returns \[3\] for differences .* \[60, 24\]: .* \[24\]$"):
            find_direction(positive - negative, orders, "wide")
    finally:
        METHODS.remove("median")
        METHODS.remove("wide")
    median = np.median(positive - negative, axis=0)
    assert np.allclose(found.vector, median / np.linalg.norm(median), atol=1e-6)
    assert found.held_out_separation > 0.95
    with pytest.raises(SteeringError, match=r"^there is no extraction method 'median': use one of pca, mean$"):
        find_direction(positive - negative, orders, "median")
