"""What steering costs on text that has nothing to do with the task: how much less likely it becomes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any, Self

from lm_eval_steer.compare.stats import mean_interval


@dataclass(frozen=True)
class TextCost:
    """The rise of the negative log-likelihood of texts against the same model without steering.

    Attributes:
        value: mean over texts of the rise per token of a text, in nats; None where it is no finite number, as where
            a steered model gives a token the probability 0.
        low: lower end of its 95 % t interval; None likewise, and of one text.
        high: upper end.
        n: texts.
        tokens: of all of them that were scored.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int
    tokens: int

    @classmethod
    def of(cls, plain: Sequence[float], steered: Sequence[float], tokens: int) -> Self:
        """Of negative log-likelihoods.

        Args:
            plain: [texts], nats per token, without steering.
            steered: [texts], likewise, in the same order.
            tokens: of all texts.
        """
        rises = [after - before for before, after in zip(plain, steered, strict=True)]
        if not all(map(math.isfinite, rises)):
            return cls(None, None, None, len(rises), tokens)
        low, high = mean_interval(rises) or (None, None)
        return cls(fmean(rises), low, high, len(rises), tokens)

    @classmethod
    def read(cls, told: Mapping[str, Any] | None) -> Self | None:
        """Of what `to_json` gave."""
        return cls(told.get("value"), told.get("low"), told.get("high"), told["n"], told["tokens"]) if told else None

    def to_json(self) -> dict[str, Any]:
        """As sweep.json and the leaderboard have it."""
        return asdict(self)


def mean_of(costs: Sequence[TextCost]) -> TextCost | None:
    """The mean of several, as of the seeds of a control, without an interval; None where there are none."""
    if not costs:
        return None
    values = [one.value for one in costs if one.value is not None]
    value = fmean(values) if len(values) == len(costs) else None
    return TextCost(value, None, None, costs[0].n, costs[0].tokens)


def show_text_cost(one: TextCost | None) -> str:
    """`+0.12 (+0.10 to +0.14)`, nats per token; a dash where it is unknown."""
    if one is None:
        return "-"
    if one.value is None:
        return "not finite"
    shown = _number(one.value)
    return shown if one.low is None or one.high is None else f"{shown} ({_number(one.low)} to {_number(one.high)})"


def _number(value: float) -> str:
    """With a sign, and a third decimal where it is small."""
    return f"{value:+.3f}" if abs(value) < 0.1 else f"{value:+.2f}"
