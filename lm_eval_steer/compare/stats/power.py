"""The smallest change that a paired test would have found at this number of documents."""

from __future__ import annotations

from math import sqrt

import numpy as np

from lm_eval_steer.compare.stats.intervals import check_level
from lm_eval_steer.errors import SteeringError

NEGLIGIBLE = 1e-20
"""Chance of a number of discordant documents below which it is left out: all of them together change no digit."""


def mcnemar_power(n: int, discordance: float, change: float, alpha: float) -> float:
    """Chance that the exact two-sided McNemar test finds a change at level alpha, by sums over binomials.

    The number D of discordant documents is binomial (n, discordance); of D, gains are binomial with the share
    (1 + change / discordance) / 2.

    Args:
        n: documents.
        discordance: share of documents on which the two arms differ, more than 0, at most 1.
        change: gains minus losses, as a share of the documents; at most `discordance` in size.
        alpha: level of the test.

    Raises:
        SteeringError: for values out of these ranges.
    """
    _check(n, discordance, alpha)
    if discordance == 0 or abs(change) > discordance:
        raise SteeringError(f"change={change} is out of reach at discordance={discordance}: it can be at most as large")
    return _power(change, discordance, *_rejections(n, discordance, alpha))


def smallest_detectable(n: int, discordance: float, alpha: float = 0.05, power: float = 0.8) -> float | None:
    """Smallest change that the exact McNemar test finds with this power, where so many documents are discordant.

    Args:
        n: documents.
        discordance: observed share of documents on which the two arms differ.
        alpha: level of the test, already divided where several are made.
        power: chance of finding it.

    Returns:
        The change as a share of the documents (0.05: five points), exact; None where not even gains alone would do.

    Raises:
        SteeringError: for n below 0, a discordance that is no share, alpha or power not between 0 and 1.
    """
    from scipy.optimize import brentq

    _check(n, discordance, alpha)
    check_level(power, "power")
    if n == 0 or discordance == 0:
        return None
    rejections = _rejections(n, discordance, alpha)
    if _power(discordance, discordance, *rejections) < power:
        return None
    if _power(0, discordance, *rejections) >= power:  # power below alpha was asked for
        return 0.0
    return float(brentq(lambda change: _power(change, discordance, *rejections) - power, 0, discordance))


def detectable_mean(
    standard_error: float, degrees: float, alpha: float = 0.05, power: float = 0.8, sides: int = 2
) -> float | None:
    """Smallest mean change that a t test finds with this power, in the unit of the standard error.

    (t(1 - alpha / sides) + t(power)) standard errors: Bloom (1995), "Minimum detectable effects".

    Returns:
        None where the standard error is 0 or unknown (nan): it then says nothing about what would be found.
    """
    from scipy.stats import t

    check_level(alpha, "alpha")
    check_level(power, "power")
    if not standard_error > 0 or not degrees > 0:
        return None
    return float((t.isf(alpha / sides, degrees) + t.ppf(power, degrees)) * standard_error)


def detectable_by_sign_flips(
    standard_error: float, documents: int, step: float = 0.0, alpha: float = 0.05, power: float = 0.8
) -> float | None:
    """Smallest mean change that the sign-flip test of `paired_test` finds with this power: a normal approximation.

    The flipped sums scatter about 0 by the squares of the changes, mean included, so in standard errors the test asks
    for c = z sqrt((documents - 1) / (documents - z²)), z = z(1 - alpha / 2). The result is (c + t(power)) standard
    errors and one step. Simulated with 10 to 100 documents of 4 binary items and with 15 to 200 continuous scores, the
    power there was 76 to 85 % for a nominal 80 % (72 % with 10 documents at level 0.01).

    Args:
        standard_error: of the mean change, by documents.
        documents: their number.
        step: 1 / items for whole-number scores, since flipped sums are 2 apart; 0 for others.
        alpha: level of the test, already divided where several are made.
        power: chance of finding it.

    Returns:
        In the unit of the scores; None where no change is large enough (documents <= z²), or the standard error is 0
        or unknown (nan).
    """
    from scipy.stats import norm, t

    check_level(alpha, "alpha")
    check_level(power, "power")
    z = float(norm.isf(alpha / 2))
    if not standard_error > 0 or documents <= z * z:
        return None
    critical = z * sqrt((documents - 1) / (documents - z * z))
    return float(critical + t.ppf(power, documents - 1)) * standard_error + step


def _check(n: int, discordance: float, alpha: float) -> None:
    check_level(alpha, "alpha")
    if n < 0 or not 0 <= discordance <= 1:
        raise SteeringError(f"n={n}, discordance={discordance}: use a number of documents and a share of them")


def _rejections(n: int, discordance: float, alpha: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Per number of discordant documents: that number, its chance, and the most losses at which gains win.

    -1 losses where the test cannot reject. All [numbers that are not `NEGLIGIBLE`], at most n + 1.
    """
    from scipy.stats import binom

    discordant = np.arange(n + 1)
    chances = binom.pmf(discordant, n, discordance)
    discordant, chances = discordant[chances > NEGLIGIBLE], chances[chances > NEGLIGIBLE]
    most = binom.ppf(alpha / 2, discordant, 0.5)  # the fewest losses with a chance of alpha / 2 or more
    most -= binom.cdf(most, discordant, 0.5) > alpha / 2 * (1 + 1e-9)
    return discordant, chances, most


def _power(change: float, discordance: float, discordant: np.ndarray, chances: np.ndarray, most: np.ndarray) -> float:
    from scipy.stats import binom

    gain = min(1.0, (1 + change / discordance) / 2)
    found = binom.cdf(most, discordant, 1 - gain) + binom.cdf(most, discordant, gain)
    return float((chances * found).sum())
