"""Intervals, tests and verdicts: numbers worked out by hand, independent computations, and simulation."""

from __future__ import annotations

import subprocess
import sys
from itertools import product
from math import sqrt
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, bootstrap, multinomial, norm, t
from statsmodels.regression.linear_model import OLS
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar
from statsmodels.stats.multitest import multipletests

from lm_eval_steer.compare.stats import (
    BETTER,
    HELPS,
    HURTS,
    NO_EVIDENCE,
    NOT_DISTINGUISHABLE,
    Pair,
    compare_with_random,
    detectable_by_sign_flips,
    detectable_mean,
    holm,
    mcnemar,
    mcnemar_power,
    paired_bootstrap,
    paired_test,
    smallest_detectable,
    verdict,
    verdicts,
    wilson_interval,
)
from lm_eval_steer.compare.stats.changes import mean_variance, read_changes
from lm_eval_steer.errors import SteeringError

Z = 1.959963984540054


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        # No failure and no success: the formula collapses to z²/(n + z²).
        (0, 10, 0.0, Z**2 / (10 + Z**2)),
        (10, 10, 10 / (10 + Z**2), 1.0),
        # Half: symmetric, half-width z·sqrt(1/(4n) + z²/(4n²)) / (1 + z²/n) with n = 4.
        (
            2,
            4,
            0.5 - Z * sqrt(1 / 16 + Z**2 / 64) / (1 + Z**2 / 4),
            0.5 + Z * sqrt(1 / 16 + Z**2 / 64) / (1 + Z**2 / 4),
        ),
        (1, 1, 1 / (1 + Z**2), 1.0),
        (15, 50, 0.1910, 0.4375),
    ],
)
def test_wilson(successes: int, n: int, low: float, high: float) -> None:
    assert wilson_interval(successes, n) == pytest.approx((low, high), abs=1e-4)


def test_wilson_level() -> None:
    assert wilson_interval(0, 10, level=0.6826894921370859) == pytest.approx((0, 1 / 11), abs=1e-9)  # z = 1


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("0110", "0110", (0, 0, 1.0)),
        ("", "", (0, 0, 1.0)),
        ("00000", "11111", (5, 0, 2 / 32)),
        ("11111", "00000", (0, 5, 2 / 32)),
        ("01", "10", (1, 1, 1.0)),
        # Three gained, one lost: 2 (C(4,0) + C(4,1)) / 2^4.
        ("000100", "111010", (4, 1, 2 * (1 + 5) / 32)),
        ("000111", "111110", (3, 1, 2 * (1 + 4) / 16)),
    ],
)
def test_mcnemar(before: str, after: str, expected: tuple[int, int, float]) -> None:
    result = mcnemar([c == "1" for c in before], [c == "1" for c in after])
    assert result == pytest.approx(expected)


def test_mcnemar_ignores_documents_that_agree() -> None:
    before, after = [False] * 5, [True] * 5
    agree = [True, False] * 50
    assert mcnemar(before + agree, after + agree) == mcnemar(before, after)


def test_mcnemar_needs_pairs() -> None:
    with pytest.raises(ValueError, match=r"shorter|longer"):
        mcnemar([True], [True, False])


@pytest.mark.parametrize(("successes", "n"), [(0, 0), (3, 2), (-1, 2)])
def test_wilson_refuses_what_is_no_proportion(successes: int, n: int) -> None:
    with pytest.raises(SteeringError, match=f"{successes} right of {n}"):
        wilson_interval(successes, n)


# --- Interval of a mean change ---


def test_bootstrap_by_hand() -> None:
    # One document that is gained, with the pseudo-documents: of +1, +1, -1 three are drawn; all three are -1 in 1/27.
    assert paired_bootstrap([0], [1]) == (-1, 1)
    assert paired_bootstrap([0], [1], level=0.9) == pytest.approx((-1 / 3, 1))  # 1/27 < 5 %; two of three: 6/27
    # A change of .25 everywhere in scores that are not binary: the pseudo-documents are 0.25 and -0.25.
    assert paired_bootstrap([0.5], [0.75]) == (-0.25, 0.25)


@pytest.mark.parametrize("scores", [[0.0] * 30, [1.0] * 30])
def test_bootstrap_of_nothing_changed_has_a_width(scores: list[float]) -> None:
    low, high = paired_bootstrap(scores, scores)
    assert -0.15 < low < 0 < high < 0.15


def test_bootstrap_of_constants_that_are_not_binary() -> None:
    assert paired_bootstrap([0.7] * 9, [0.7] * 9) == (0, 0)
    low, high = paired_bootstrap([0.0, 0.5, 1.0] * 9, [0.0, 0.5, 1.0] * 9)
    assert low < 0 < high


@pytest.mark.parametrize("repeats", [1, 3])
@pytest.mark.parametrize("kind", ["binary", "continuous"])
def test_bootstrap_equals_scipys_on_the_padded_documents(repeats: int, kind: str) -> None:
    rng = np.random.default_rng(11)
    before, after = rng.random((2, 300))
    if kind == "binary":
        before, after = (before < 0.4).astype(float), (after < 0.55).astype(float)
    clusters = [f"doc {i // repeats}" for i in range(300)]
    sums = (after - before).reshape(-1, repeats).sum(axis=1)
    reach = 1 if kind == "binary" else np.abs(sums / repeats).max()
    padded = np.append(sums, [reach * repeats, -reach * repeats])
    reference = bootstrap((padded / repeats,), np.mean, method="percentile", n_resamples=20_000, rng=rng)
    ours = paired_bootstrap(before, after, clusters, resamples=20_000)
    assert ours == pytest.approx(tuple(reference.confidence_interval), abs=0.004)


def test_bootstrap_weights_documents_of_unequal_size() -> None:
    # One document of 90 items is gained, nine of one item are lost: the mean change is 0.81, not -0.8.
    low, high = paired_bootstrap([0] * 90 + [1] * 9, [1] * 90 + [0] * 9, [0] * 90 + list(range(1, 10)))
    assert low <= 81 / 99 <= high


def test_bootstrap_of_unequal_documents_is_the_ratio_of_sums() -> None:
    rng = np.random.default_rng(18)
    sizes = rng.integers(1, 12, 40)
    clusters = np.repeat(np.arange(40), sizes)
    after = rng.normal(size=40)[clusters] + sizes[clusters] / 5  # larger documents change more
    low, high = paired_bootstrap(np.zeros(len(after)), after, clusters, resamples=20_000)
    sums, reach = np.bincount(clusters, weights=after), np.abs(np.bincount(clusters, weights=after) / sizes).max()
    sums = np.append(sums, [reach * sizes.mean(), -reach * sizes.mean()])
    sizes = np.append(sizes, [sizes.mean()] * 2)
    reference = bootstrap(
        (sums, sizes),
        lambda a, b, axis: a.sum(axis=axis) / b.sum(axis=axis),
        paired=True,
        method="percentile",
        n_resamples=20_000,
        rng=rng,
    )
    assert (low, high) == pytest.approx(tuple(reference.confidence_interval), abs=0.03)


@given(
    pairs=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 5)), min_size=1, max_size=80),
    level=st.floats(0.05, 0.99),
)
@settings(max_examples=60)
def test_bootstrap_is_ordered_deterministic_and_holds_the_estimate(pairs: list[tuple[int, int, int]], level) -> None:
    before, after, clusters = zip(*pairs, strict=True)
    low, high = paired_bootstrap(before, after, clusters, level=level, resamples=200)
    assert low <= np.mean(np.subtract(after, before)) + 1e-12
    assert high >= np.mean(np.subtract(after, before)) - 1e-12
    renamed = [f"document {label}" for label in clusters]
    assert paired_bootstrap(before, after, renamed, level=level, resamples=200) == (low, high)
    # The unit is the scores': four times the scores, unless both are binary, where a unit is known.
    if max(*before, *after) == 2:
        scaled = paired_bootstrap(np.multiply(before, 4), np.multiply(after, 4), clusters, level=level, resamples=200)
        assert scaled == pytest.approx((4 * low, 4 * high))


def test_bootstrap_seeds() -> None:
    scores = [0, 1] * 40, [1, 1] * 40
    assert paired_bootstrap(*scores, seed=1, resamples=99) == paired_bootstrap(*scores, seed=1, resamples=99)
    assert len({paired_bootstrap(*scores, seed=seed, resamples=99) for seed in range(5)}) > 1


def test_wider_for_a_higher_level_and_narrower_for_more_documents() -> None:
    def width(n: int, level: float) -> float:
        low, high = paired_bootstrap([0, 1, 0, 1] * n, [1, 1, 0, 0] * n, level=level)
        return high - low

    assert width(25, 0.99) > width(25, 0.95) > width(25, 0.5)
    assert width(100, 0.95) == pytest.approx(width(25, 0.95) / 2, rel=0.1)


@pytest.mark.parametrize("gains", [0.5, 0.8, 1.0])
@pytest.mark.parametrize("discordance", [0.02, 0.1, 0.3])
@pytest.mark.parametrize("n", [10, 100])
def test_interval_covers(n: int, discordance: float, gains: float) -> None:
    """Exactly, by sums over all tables (gained, lost) that have a chance of 1e-4 or more."""
    true = discordance * (2 * gains - 1)
    covered = seen = 0.0
    for gained in range(n + 1):
        for lost in range(n + 1 - gained):
            table = [gained, lost, n - gained - lost]
            chance = multinomial.pmf(table, n, [discordance * gains, discordance * (1 - gains), 1 - discordance])
            if chance < 1e-4:
                continue
            low, high = paired_bootstrap(
                [0] * gained + [1] * lost + [0] * table[2], [1] * gained + [0] * (n - gained), resamples=1000
            )
            seen += chance
            covered += chance * (low - 1e-9 <= true <= high + 1e-9)
    assert seen > 0.97
    assert covered / seen > 0.94


def naive(before: np.ndarray, after: np.ndarray) -> float:
    return mcnemar(before == 1, after == 1)[2]


def repeated(rng: np.random.Generator, documents: int, repeats: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Both arms equally good, on documents that each has its own chances of being right."""
    clusters = np.repeat(np.arange(documents), repeats)
    before, after = (rng.beta(0.6, 0.6, documents)[clusters] > rng.random(documents * repeats) for _ in range(2))
    return before.astype(float), after.astype(float), clusters


def test_clustered_interval_covers_where_an_unclustered_one_does_not() -> None:
    rng = np.random.default_rng(2)
    covered = np.zeros(2)
    for _ in range(400):
        before, after, clusters = repeated(rng, 30, 8)
        for number, labels in enumerate((clusters, None)):
            low, high = paired_bootstrap(before, after, labels, resamples=500)
            covered[number] += low <= 0 <= high
    assert covered[0] / 400 > 0.93
    assert covered[1] / 400 < 0.8


# --- Paired test ---


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60))
@settings(max_examples=60)
def test_paired_test_of_binary_scores_is_mcnemar_by_any_way(pairs: list[tuple[bool, bool]]) -> None:
    before, after = zip(*pairs, strict=True)
    p = paired_test(before, after)
    assert p == mcnemar(before, after)[2]
    assert p == pytest.approx(paired_test(after, before))
    assert paired_test(before, after, range(len(pairs))) == p
    # Through the distribution of flipped signs: scores of 0 and 2 are not binary, but whole numbers.
    assert paired_test(np.multiply(before, 2.0), np.multiply(after, 2.0)) == pytest.approx(p)
    table = [[0, sum(b > a for b, a in pairs)], [sum(a > b for b, a in pairs), 0]]
    if table[0][1] + table[1][0]:
        assert statsmodels_mcnemar(table, exact=True).pvalue == pytest.approx(p)


def by_enumeration(sums: list[float]) -> float:
    """Share of all sign patterns whose sum is as far from 0."""
    totals = [abs(sum(s * x for s, x in zip(signs, sums, strict=True))) for signs in product((1, -1), repeat=len(sums))]
    return float(np.mean([total >= abs(sum(sums)) - 1e-9 for total in totals]))


@pytest.mark.parametrize("sums", [[1], [3, -1], [2, 2, 1], [4, 0, -3, 2, 2, -1, 3, 1], [5, 4, 3, 2, 1, 1, -2, 6, 3, 3]])
def test_clustered_test_equals_enumeration(sums: list[int]) -> None:
    clusters = np.repeat(np.arange(len(sums)), 6)
    before, after = np.zeros(len(clusters)), np.zeros(len(clusters))
    for document, change in enumerate(sums):
        (after if change > 0 else before)[6 * document : 6 * document + abs(change)] = 1
    assert paired_test(before, after, clusters) == pytest.approx(by_enumeration(list(map(float, sums))))


def test_test_of_fractional_scores_equals_enumeration_for_few_and_approaches_it_for_many() -> None:
    changes = np.random.default_rng(4).normal(0.3, 1, 16)
    assert paired_test(np.zeros(9), changes[:9]) == pytest.approx(by_enumeration(list(changes[:9])))
    sampled = paired_test(np.zeros(16), changes)
    assert sampled == pytest.approx(by_enumeration(list(changes)), abs=0.015)
    assert sampled == paired_test(np.zeros(16), changes, seed=0)


@pytest.mark.parametrize("scores", [[0], [1], [0.3], [0] * 5, [1] * 5, [0.3] * 5])
def test_nothing_changed(scores: list[float]) -> None:
    assert paired_test(scores, scores) == 1
    assert paired_test(scores, scores, [0] * len(scores)) == 1


def test_one_document_proves_nothing() -> None:
    assert paired_test([0], [1]) == 1
    assert paired_test([0] * 50, [1] * 50, ["the same"] * 50) == 1  # McNemar on the items: 2e-15
    assert paired_test([0.5] * 50, [0.6] * 50, ["the same"] * 50) == 1


@pytest.mark.parametrize("documents", [5, 10, 40])
def test_clustered_test_holds_its_level_where_mcnemar_does_not(documents: int) -> None:
    rng = np.random.default_rng(3)
    rejected = np.zeros(2)
    for _ in range(600):
        before, after, clusters = repeated(rng, documents, 8)
        rejected += np.array([paired_test(before, after, clusters), naive(before, after)]) <= 0.05
    assert rejected[0] / 600 < 0.05 + 2.5 * sqrt(0.05 * 0.95 / 600)
    assert rejected[1] / 600 > 0.15


@pytest.mark.parametrize("n", [12, 100])
def test_test_of_fractional_scores_holds_its_level(n: int) -> None:
    rng = np.random.default_rng(5)
    with mock.patch("lm_eval_steer.compare.stats.paired.SIGN_FLIPS", 199):
        rejected = np.mean([paired_test(*rng.normal(size=(2, n))) <= 0.05 for _ in range(400)])
    assert rejected < 0.05 + 2.5 * sqrt(0.05 * 0.95 / 400)


@pytest.mark.parametrize("function", [paired_test, paired_bootstrap, Pair])
@pytest.mark.parametrize(
    ("before", "after", "clusters", "message"),
    [
        ([], [], None, "at least one"),
        ([1, 0], [1], None, "2 scores before and 1 after"),
        ([1, 0], [1, 0], ["a"], "1 clusters for 2 scores"),
        ([1, float("nan")], [1, 0], None, "score 1 of the earlier scores"),
        ([1, 0], [None, 0], None, "score 0 of the later scores"),
        ([1, 0], ["yes", "no"], None, "not a list of numbers"),
        ([[1, 0]], [[1, 0]], None, r"the shape \[1, 2\]"),
    ],
)
def test_bad_scores(function: Any, before: Any, after: Any, clusters: Any, message: str) -> None:
    with pytest.raises(SteeringError, match=message):
        function(before, after, clusters)


@pytest.mark.parametrize("level", [0, 1, 95, -0.1])
def test_bad_levels(level: float) -> None:
    with pytest.raises(SteeringError, match=f"level={level}"):
        paired_bootstrap([0], [1], level=level)
    with pytest.raises(SteeringError, match=f"alpha={level}"):
        compare_with_random([0, 1], [[0, 1], [1, 1]], alpha=level)
    with pytest.raises(SteeringError, match=f"power={level}"):
        smallest_detectable(10, 0.5, power=level)


# --- Holm ---


@pytest.mark.parametrize(
    ("ps", "adjusted"),
    [
        ([], []),
        ([0.04], [0.04]),
        ([0.01, 0.04, 0.03], [0.03, 0.06, 0.06]),  # 3 x .01, then 2 x .03, then .04, raised to .06
        ([0.5, 0.9], [1, 1]),
        ([0.02, 0.02], [0.04, 0.04]),
    ],
)
def test_holm(ps: list[float], adjusted: list[float]) -> None:
    assert holm(ps) == pytest.approx(adjusted)


def test_holm_is_that_of_statsmodels() -> None:
    rng = np.random.default_rng(3)
    for size in (1, 2, 7, 40):
        ps = np.round(rng.random(size) ** 4, 2)  # small ones, and ties
        assert holm(list(ps)) == pytest.approx(multipletests(ps, method="holm")[1], abs=0)


@pytest.mark.parametrize("p", [-0.1, 1.1, float("nan")])
def test_holm_refuses_what_is_no_p(p: float) -> None:
    with pytest.raises(SteeringError, match="no probability"):
        holm([0.5, p])


# --- Smallest detectable change ---


@pytest.mark.parametrize(
    ("n", "discordance", "change"), [(12, 0.5, 0.3), (20, 0.9, -0.4), (7, 1.0, 1.0), (9, 0.3, 0.0)]
)
@pytest.mark.parametrize("alpha", [0.05, 0.0625, 0.2])
def test_power_equals_the_sum_over_all_tables(n: int, discordance: float, change: float, alpha: float) -> None:
    chances = [(discordance + change) / 2, (discordance - change) / 2, 1 - discordance]
    found = 0.0
    for gained in range(n + 1):
        for lost in range(n + 1 - gained):
            if mcnemar([False] * gained + [True] * lost, [True] * gained + [False] * lost)[2] <= alpha + 1e-12:
                found += multinomial.pmf([gained, lost, n - gained - lost], n, chances)
    assert mcnemar_power(n, discordance, change, alpha) == pytest.approx(found)


@pytest.mark.parametrize(("discordance", "change"), [(0.02, 0.01), (0.4, 0.05), (1.0, -0.06)])
def test_power_of_many_documents_leaves_out_nothing(discordance: float, change: float) -> None:
    n, alpha, found = 1319, 0.01, 0.0
    for discordant in range(n + 1):
        most = int(np.searchsorted(2 * binom.cdf(np.arange(discordant + 1), discordant, 0.5), alpha, side="right")) - 1
        gain = (1 + change / discordance) / 2
        rejected = binom.cdf(most, discordant, gain) + binom.cdf(most, discordant, 1 - gain)
        found += binom.pmf(discordant, n, discordance) * rejected
    assert mcnemar_power(n, discordance, change, alpha) == pytest.approx(found, rel=1e-12)


@pytest.mark.parametrize(("n", "discordance", "alpha"), [(50, 0.4, 0.05), (200, 0.1, 0.05), (1319, 0.25, 0.005)])
def test_smallest_detectable_change_has_the_power(n: int, discordance: float, alpha: float) -> None:
    change = smallest_detectable(n, discordance, alpha)
    assert change is not None
    assert mcnemar_power(n, discordance, change, alpha) == pytest.approx(0.8)
    # Normal approximation (Connor 1987): z_a sqrt(psi / n) + z_b sqrt((psi - change²) / n), below the exact test's.
    z_a, z_b = norm.isf([alpha / 2, 0.2])
    approximate = z_a * sqrt(discordance / n) + z_b * sqrt((discordance - change**2) / n)
    assert approximate < change < 1.12 * approximate + 1 / n


def test_smallest_detectable_change_by_hand() -> None:
    # All documents discordant, 6 of them: only 6 gains of 6 give p = 2/64 <= .05, so g^6 = .8 and change = 2g - 1.
    assert smallest_detectable(6, 1) == pytest.approx(2 * 0.8 ** (1 / 6) - 1, abs=1e-6)


@pytest.mark.parametrize(("n", "discordance"), [(0, 0), (0, 0.5), (1, 1), (5, 1), (100, 0), (100, 0.05)])
def test_nothing_is_detectable(n: int, discordance: float) -> None:
    assert smallest_detectable(n, discordance) is None


def test_more_documents_or_a_milder_level_detect_less() -> None:
    changes = [smallest_detectable(n, 0.2, alpha) for n, alpha in [(100, 0.005), (100, 0.05), (400, 0.05)]]
    assert None not in changes
    assert changes == sorted(changes, reverse=True)  # type: ignore[type-var]


@pytest.mark.parametrize(("n", "discordance"), [(-1, 0.5), (10, 1.5), (10, -0.5)])
def test_detectable_refuses(n: int, discordance: float) -> None:
    with pytest.raises(SteeringError, match=f"n={n}, discordance={discordance}"):
        smallest_detectable(n, discordance)
    with pytest.raises(SteeringError, match="out of reach"):
        mcnemar_power(10, 0.2, 0.3, 0.05)


@pytest.mark.parametrize("documents", [12, 60])
def test_detectable_change_of_repeated_documents_has_the_power(documents: int) -> None:
    rng = np.random.default_rng(6)
    detectable, found = [], []
    clusters = np.repeat(np.arange(documents), 4)
    shift = {12: 0.36, 60: 0.137}[documents]
    true = []
    for _ in range(400):
        right = rng.beta(2, 2, documents)
        steered = np.clip(right + rng.normal(shift, 0.15, documents), 0, 1)
        before, after = ((p[clusters] > rng.random(4 * documents)).astype(float) for p in (right, steered))
        true.append((steered - right).mean())
        changes = read_changes(before, after, clusters)
        error = sqrt(mean_variance(changes.sums, changes.sizes))
        detectable.append(detectable_by_sign_flips(error, documents, 1 / len(clusters)))
        found.append(paired_test(before, after, clusters) <= 0.05)
    assert np.mean(true) == pytest.approx(np.median(detectable), rel=0.05)  # this is the effect that is simulated
    assert 0.7 < np.mean(found) < 0.9


def test_detectable_mean_is_unknown_without_an_error() -> None:
    assert detectable_mean(0, 10) is None
    assert detectable_mean(float("nan"), 0) is None
    assert detectable_by_sign_flips(0, 10) is None
    assert detectable_by_sign_flips(0.1, 3) is None  # 1/4 is the smallest p
    assert detectable_mean(1, 1e9) == pytest.approx(1.959964 + 0.841621, abs=1e-5)
    assert detectable_mean(1, 1e9, sides=1) == pytest.approx(1.644854 + 0.841621, abs=1e-5)


def test_variance_is_statsmodels_clustered_one() -> None:
    rng = np.random.default_rng(8)
    clusters = rng.integers(0, 20, 150)
    values = rng.normal(size=150) + rng.normal(size=20)[clusters]
    changes = read_changes(np.zeros(150), values, clusters)
    fit = OLS(values, np.ones(150)).fit(cov_type="cluster", cov_kwds={"groups": clusters})
    assert mean_variance(changes.sums, changes.sizes) == pytest.approx(fit.bse[0] ** 2)


# --- Against random directions ---


def test_random_comparison_by_hand() -> None:
    # Two seeds that agree on all four documents, with 2 right of 4; the vector has all 4. No spread.
    # Changes 0, 0, 1, 1 and the pseudo-documents 1, -1: mean 1/3, squares about it 4 - 6/9 = 10/3, error² 10/3 / 5 / 6.
    found = compare_with_random([1, 1, 1, 1], [[1, 1, 0, 0], [1, 1, 0, 0]])
    error = sqrt(1 / 9)
    assert (found.difference, found.n, found.seeds, found.spread) == (0.5, 4, 2, 0)
    assert found.p == pytest.approx(t.sf(0.5 / error, 1))
    assert (found.low, found.high) == pytest.approx((0.5 - 6.313752 * error, 0.5 + 6.313752 * error), rel=1e-6)
    assert found.mde is None  # more than 1
    assert found.word == NOT_DISTINGUISHABLE


def test_spread_between_seeds() -> None:
    # Twenty documents, each seed right on its own share of them; all documents alike, so var of sampling by hand.
    rows = [[1] * 8 + [0] * 12, [1] * 12 + [0] * 8]
    found = compare_with_random([1] * 10 + [0] * 10, rows)
    # Scores .4 and .6: variance .02. Deviations +-.5 on 4 of 20 documents: variance of each mean
    # (4 x .25 - 20 x .01) / 19 / 20, two of them over seeds - 1 = 1.
    assert found.spread**2 == pytest.approx(0.02 - 2 * (1 - 0.2) / 19 / 20)
    assert found.difference == 0
    assert found.p == 0.5
    # Changes of the vector against the seeds' mean: 0 on 8, .5 on 2, -.5 on 2, 0 on 8, and the pseudo-documents 1, -1:
    # mean 0, error² 3 / 21 / 22. Half the interval's width is t(.95, 1) times the root of all of it.
    error = sqrt(found.spread**2 * (1 + 1 / 2) + 3 / 21 / 22)
    assert found.high == pytest.approx(6.313752 * error, rel=1e-6)


def random_arms(
    rng: np.random.Generator, runs: int, seeds: int, n: int, spread: float, own_noise: float = 0.6, better: float = 0.0
) -> np.ndarray:
    """Right or wrong, [runs, 1 + seeds, n], the vector first; every arm's true quality drawn from one distribution."""
    documents = 2 * rng.standard_normal((runs, 1, n))
    quality = spread * rng.standard_normal((runs, 1 + seeds, 1))
    quality[:, 0] += better
    noise = np.full((1 + seeds, 1), 0.6)
    noise[0] = own_noise
    return (documents + quality + noise * rng.standard_normal((runs, 1 + seeds, n)) > 0).astype(float)


def rate_better(arms: np.ndarray, clusters: Any = None) -> float:
    return float(np.mean([compare_with_random(run[0], list(run[1:]), clusters).word == BETTER for run in arms]))


@pytest.mark.parametrize("spread", [0.0, 0.1, 0.4])
@pytest.mark.parametrize("seeds", [2, 5])
def test_better_than_random_is_wrong_as_rarely_as_stated(seeds: int, spread: float) -> None:
    rng = np.random.default_rng(9)
    assert rate_better(random_arms(rng, 600, seeds, 150, spread)) < 0.05 + 2.5 * sqrt(0.05 * 0.95 / 600)


def test_better_than_random_is_not_fooled_by_a_vector_that_changes_more() -> None:
    arms = random_arms(np.random.default_rng(10), 600, 5, 150, spread=0.0, own_noise=4.0)
    assert rate_better(arms) < 0.05
    # A test from the seeds' spread alone would be.
    scores = arms.mean(axis=2)
    alone = (scores[:, 0] - scores[:, 1:].mean(axis=1)) / (scores[:, 1:].std(axis=1, ddof=1) * sqrt(1 + 1 / 5))
    assert np.mean(alone > t.isf(0.05, 4)) > 0.15


def test_better_than_random_after_each_arm_chose_its_alpha_on_validation() -> None:
    rng = np.random.default_rng(12)
    runs, seeds, n = 300, 5, 150
    quality = 0.2 * rng.standard_normal((runs, 1 + seeds, 8, 1))
    validation = 2 * rng.standard_normal((runs, 1, 1, 80)) + quality
    best = (validation + 0.6 * rng.standard_normal((runs, 1 + seeds, 8, 80)) > 0).mean(axis=3).argmax(axis=2)
    chosen = np.take_along_axis(quality[..., 0], best[..., None], axis=2)
    test = 2 * rng.standard_normal((runs, 1, n)) + chosen + 0.6 * rng.standard_normal((runs, 1 + seeds, n))
    assert rate_better((test > 0).astype(float)) < 0.05 + 2.5 * sqrt(0.05 * 0.95 / runs)


def test_better_than_random_of_repeated_documents() -> None:
    """Each document asked 6 times, with its own answer for each arm: 25 documents, not 150."""
    arms = np.repeat(random_arms(np.random.default_rng(13), 500, 5, 25, spread=0.0, own_noise=3.0), 6, axis=2)
    clusters = np.repeat(np.arange(25), 6)
    assert rate_better(arms, clusters) < 0.05
    assert rate_better(arms) > rate_better(arms, clusters)


def test_better_than_random_finds_a_vector_that_is() -> None:
    rng = np.random.default_rng(14)
    assert rate_better(random_arms(rng, 200, 5, 200, spread=0.1, better=0.8)) > 0.9
    run = random_arms(rng, 1, 5, 200, spread=0.1, better=0.8)[0]
    found = compare_with_random(run[0], list(run[1:]))
    assert found.low > 0
    assert found.difference == pytest.approx(run[0].mean() - run[1:].mean())
    assert found.mde is not None
    assert 0 < found.mde < 0.3


def test_detectable_difference_from_random_has_the_power() -> None:
    rng = np.random.default_rng(15)
    arms = random_arms(rng, 400, 5, 200, spread=0.25, better=0.95)
    found = [compare_with_random(run[0], list(run[1:])) for run in arms]
    assert np.median([one.mde for one in found]) == pytest.approx(np.mean([one.difference for one in found]), rel=0.15)
    assert 0.65 < np.mean([one.word == BETTER for one in found]) < 0.95


@pytest.mark.parametrize("scores", [[0], [1], [0, 0, 0], [1, 1, 1], [0.3] * 4])
def test_random_comparison_of_equals(scores: list[float]) -> None:
    found = compare_with_random(scores, [scores, scores, scores])
    assert (found.difference, found.spread, found.word) == (0, 0, NOT_DISTINGUISHABLE)
    assert found.p >= 0.5
    assert found.low <= 0 <= found.high


def test_one_document_is_not_better_than_random() -> None:
    assert compare_with_random([1], [[0]] * 5).word == NOT_DISTINGUISHABLE
    assert compare_with_random([1] * 50, [[0] * 50] * 5, ["the same"] * 50).word == NOT_DISTINGUISHABLE
    assert compare_with_random([1] * 50, [[0] * 50] * 5).word == BETTER


@given(st.data())
@settings(max_examples=40)
def test_low_is_above_zero_exactly_when_better(data: st.DataObject) -> None:
    n, seeds = data.draw(st.integers(1, 12)), data.draw(st.integers(2, 6))
    arms = [data.draw(st.lists(st.sampled_from([0, 0.5, 1]), min_size=n, max_size=n)) for _ in range(seeds + 1)]
    found = compare_with_random(arms[0], arms[1:])
    assert (found.low > 0) == (found.word == BETTER)
    assert found.low <= found.difference <= found.high


@pytest.mark.parametrize(
    ("vector", "controls", "message"),
    [
        ([1, 0], [], "0 random controls"),
        ([1, 0], [[1, 0]], "1 random controls"),
        ([1, 0], [[1, 0], [1]], "2 scores and random control 1 has 1"),
        ([], [[], []], "at least one"),
    ],
)
def test_random_comparison_refuses(vector: list[float], controls: list[list[float]], message: str) -> None:
    with pytest.raises(SteeringError, match=message):
        compare_with_random(vector, controls)


# --- Verdicts ---


def changed(gained: int, lost: int, n: int) -> Pair:
    return Pair([0] * gained + [1] * lost + [0] * (n - gained - lost), [1] * gained + [0] * (n - gained))


def test_verdicts_of_a_family() -> None:
    family = {"best": changed(20, 2, 100), "vote": changed(9, 2, 100), "negated": changed(1, 18, 100)}
    found = verdicts(family)
    assert list(found) == list(family)
    ps = [2 * binom.cdf(2, 22, 0.5), 2 * binom.cdf(2, 11, 0.5), 2 * binom.cdf(1, 19, 0.5)]
    assert [one.mcnemar_p for one in found.values()] == pytest.approx(ps)
    assert [one.holm_p for one in found.values()] == pytest.approx([2 * ps[0], ps[1], 3 * ps[2]])
    assert [one.change for one in found.values()] == pytest.approx([0.18, 0.07, -0.17])
    assert [one.word for one in found.values()] == [HELPS, NO_EVIDENCE, HURTS]
    assert found["best"].mde == smallest_detectable(100, 0.22, 0.05 / 3)
    assert (found["best"].low, found["best"].high) == paired_bootstrap(family["best"].before, family["best"].after)


def test_a_larger_family_asks_for_more() -> None:
    pair = changed(12, 2, 80)  # p = .0129
    alone = verdict(pair.before, pair.after)
    assert alone.word == HELPS
    assert alone.holm_p == alone.mcnemar_p
    crowd = verdicts({"vector": pair} | {f"other {i}": changed(3, 3, 80) for i in range(4)})["vector"]
    assert crowd.mcnemar_p == alone.mcnemar_p
    assert crowd.holm_p == pytest.approx(5 * alone.mcnemar_p)
    assert crowd.word == NO_EVIDENCE
    assert None not in (crowd.mde, alone.mde)
    assert crowd.mde > alone.mde  # type: ignore[operator]


def test_verdict_of_repeated_documents() -> None:
    # One document of twenty accounts for all gains.
    before, after, clusters = [0] * 80, [1] * 4 + [0] * 76, [i // 4 for i in range(80)]
    found = verdict(before, after, clusters)
    assert (found.mcnemar_p, found.word, found.mde) == (1, NO_EVIDENCE, None)
    spread_out = verdict(before, [1, 0, 0, 0] * 20, clusters)
    assert spread_out.mcnemar_p == pytest.approx(2 / 2**20)
    assert spread_out.word == HELPS


def test_verdict_of_fractional_scores() -> None:
    rng = np.random.default_rng(16)
    before = rng.random(60)
    found = verdict(before, before + rng.normal(0.1, 0.1, 60))
    assert found.word == HELPS
    assert found.mcnemar_p == pytest.approx(2e-4)  # the smallest there is
    assert 0.02 < found.mde < 0.06  # type: ignore[operator]  # 2.8 x .1 / sqrt(60)
    assert verdict(-before, -before - rng.normal(0.1, 0.1, 60)).word == HURTS


@pytest.mark.parametrize("scores", [[0], [1], [0] * 20, [1] * 20, [0.3] * 20])
def test_verdict_of_nothing_changed(scores: list[float]) -> None:
    found = verdict(scores, scores)
    assert (found.change, found.mcnemar_p, found.holm_p, found.mde, found.word) == (0, 1, 1, None, NO_EVIDENCE)
    assert found.low <= 0 <= found.high


def test_verdict_of_one_document() -> None:
    found = verdict([0], [1])
    assert (found.change, found.low, found.high, found.mcnemar_p, found.mde) == (1, -1, 1, 1, None)
    assert verdict([0] * 5, [1] * 5).word == NO_EVIDENCE  # p = 1/16
    assert verdict([0] * 6, [1] * 6).word == HELPS  # p = 1/32


def test_no_family_no_verdicts() -> None:
    assert verdicts({}) == {}


def test_a_family_without_effects_is_rarely_called_anything() -> None:
    rng = np.random.default_rng(17)
    wrong = 0
    for _ in range(200):
        documents = 2 * rng.standard_normal(60)
        baseline, *arms = (documents + rng.standard_normal((6, 60)) > 0).astype(float)
        ps = holm([paired_test(baseline, arm) for arm in arms])
        wrong += min(ps) <= 0.05
    assert wrong / 200 < 0.05 + 2.5 * sqrt(0.05 * 0.95 / 200)


def test_importing_is_cheap() -> None:
    code = "import sys, lm_eval_steer.compare.stats; print([m for m in ('scipy.stats',) if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
