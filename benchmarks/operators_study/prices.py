"""The strength at which something costs a price, between strengths whose costs are known."""

from __future__ import annotations

import math
from collections.abc import Mapping


def one_that_costs(price: float, paid: Mapping[float, float]) -> float:
    """The strength at which a line between two neighbours, both axes logarithmic, reaches a price.

    The cheapest where all cost more, the largest where all cost less. What costs nothing, or less, is taken to cost a
    thousandth of the price.
    """
    strengths = sorted(paid)
    costs = [max(paid[one], price / 1000) for one in strengths]
    for low, high, less, more in zip(strengths, strengths[1:], costs, costs[1:], strict=False):
        if less <= price < more:
            share = math.log(price / less) / math.log(more / less)
            return round_off(low * (high / low) ** share)
    return min(paid, key=lambda one: paid[one]) if min(costs) > price else strengths[-1]


def round_off(strength: float) -> float:
    """To three digits."""
    return float(f"{strength:.3g}")
