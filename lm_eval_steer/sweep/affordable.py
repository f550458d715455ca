"""Which strengths may be chosen where a sweep bounds what they cost: `--choose effect@cost=C`."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.alphas import alpha_name
from lm_eval_steer.text import quoted

_FORM = re.compile(r"effect@cost=(?P<most>\S+)")


def read_most_cost(given: str | None) -> float | None:
    """The C of `effect@cost=C`, in nats per token; None where nothing is given, and every strength may be chosen.

    Raises:
        SteeringError: for anything else.
    """
    if given is None:
        return None
    found = _FORM.fullmatch(given)
    try:
        most = float(found["most"]) if found else math.nan
    except ValueError:
        most = math.nan
    if not math.isfinite(most):
        raise SteeringError(
            f"--choose {quoted(given)} is not understood: give effect@cost=C, as in effect@cost=0.1, for the best of "
            "the strengths that cost C nats per token or less"
        )
    return most


def find_affordable(costs: Mapping[str, Mapping[str, Any]], alphas: Sequence[float], most: float) -> list[float]:
    """The strengths that cost `most` or less, in their order; one without a finite cost is none of them.

    Args:
        costs: strength, by its name -> what sweep.json says of its cost.
        alphas: the strengths.
        most: nats per token.
    """
    values = {alpha: costs[alpha_name(alpha)]["value"] for alpha in alphas}
    return [alpha for alpha, value in values.items() if value is not None and value <= most]


def tell_unaffordable(name: str, costs: Mapping[str, Mapping[str, Any]], most: float) -> str:
    """Why a contender has no arm: a sentence with its least cost."""
    known = {alpha: told["value"] for alpha, told in costs.items() if told["value"] is not None}
    least = min(known, key=lambda alpha: known[alpha], default=None)
    told = "none has a finite cost" if least is None else f"the least is {known[least]:.3g} at {least}"
    return (
        f"no strength of {name} costs {most:g} nats per token or less: {told}; give a larger C to --choose, or smaller "
        "strengths"
    )
