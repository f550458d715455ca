"""Numbers of one metric as people read them: proportions in per cent and points, others with the digits that tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor, log10


@dataclass(frozen=True)
class Scale:
    """How the numbers of a metric are shown.

    Attributes:
        is_proportion: whether every value lies between 0 and 1.
        scores: that are shown together; the largest of them has three digits.
    """

    is_proportion: bool
    scores: Sequence[float]

    def score(self, value: float) -> str:
        """`51.2%`, or `-1.07`."""
        return f"{value:.1%}" if self.is_proportion else f"{value:.{self._decimals}f}"

    def change(self, value: float) -> str:
        """In points, or in the unit of the metric: `+4.90`."""
        return self._number(value, "+")

    def between(self, ends: Sequence[float | None] | None, sign: str = "") -> str:
        """An interval, `4.61 to 5.20`, or with the sign + `+4.61 to +5.20`; a dash where there is none."""
        known = [end for end in ends or () if end is not None]
        return " to ".join(self._number(end, sign) for end in known) if len(known) == 2 else "-"

    def _number(self, value: float, sign: str) -> str:
        if self.is_proportion:
            return f"{100 * value + 0.0:{sign}.1f}"
        return f"{value + 0.0:{sign}.{self._decimals}f}"

    @property
    def _decimals(self) -> int:
        most = max(map(abs, self.scores), default=0.0)
        return max(0, 2 - floor(log10(most))) if most else 2


def show_cost(read: int | None, written: int | None, documents: int) -> str:
    """Tokens per document, `1,056 + 32`: those of prompts and those that were written, each `-` where unknown."""
    if read is None and written is None:
        return "-"
    return " + ".join("-" if one is None else _per_document(one / documents) for one in (read, written))


def _per_document(tokens: float) -> str:
    return f"{tokens:,.0f}" if tokens >= 10 or tokens == round(tokens) else f"{tokens:.1f}"


def show_share(share: float | None, ends: Sequence[float | None] | None) -> str:
    """A share of own's effect with its interval, `72 % (66 to 78)`; of own itself `100 %`; a dash without one."""
    known = [end for end in ends or () if end is not None]
    if share is None or len(known) != 2:
        return "-"
    shown, low, high = (f"{100 * value + 0.0:.0f}" for value in (share, *known))
    return f"{shown} %" if known[0] == known[1] else f"{shown} % ({low} to {high})"
