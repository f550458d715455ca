"""Intervals and paired tests, as scipy computes them."""

from __future__ import annotations

from collections.abc import Sequence

from scipy.stats import binomtest


def wilson_interval(successes: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson score interval of a proportion."""
    interval = binomtest(successes, n).proportion_ci(level, method="wilson")
    return float(interval.low), float(interval.high)


def mcnemar(before: Sequence[bool], after: Sequence[bool]) -> tuple[int, int, float]:
    """Exact McNemar test on paired outcomes.

    Returns:
        gained: wrong before, right after.
        lost: right before, wrong after.
        p: two-sided; 1 when nothing changed.
    """
    gained = sum(not b and a for b, a in zip(before, after, strict=True))
    lost = sum(b and not a for b, a in zip(before, after, strict=True))
    return gained, lost, float(binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0
