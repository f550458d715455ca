"""Intervals and tests against numbers worked out by hand."""

from __future__ import annotations

from math import sqrt

import pytest

from lm_eval_steer.stats import mcnemar, wilson_interval

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
