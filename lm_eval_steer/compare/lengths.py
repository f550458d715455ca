"""How long responses are, and how many of them the limit cut: to talk longer is not to err more."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from lm_eval_steer.axis.record import Line

_RISE = 0.1
"""Share of the responses by which more of an arm than of the baseline are cut, from which on a reader is told."""


@dataclass(frozen=True)
class Lengths:
    """Of the responses that were written for an arm; of a vote, of all that it asked for.

    Attributes:
        responses: how many.
        tokens: new ones in all of them, with that which ended each.
        cut: how many ended at the limit of new tokens, and so perhaps before their answer.
    """

    responses: int
    tokens: int
    cut: int

    @classmethod
    def of(cls, lines: Iterable[Line]) -> Self | None:
        """Of lines of a record; None where there are none, and where one does not say its tokens or its end."""
        found = list(lines)
        if not found or any(line.tokens is None or line.stop is None for line in found):
            return None
        return cls(len(found), sum(line.tokens or 0 for line in found), sum(line.stop == "length" for line in found))

    @classmethod
    def read(cls, told: Mapping[str, Any] | None) -> Self | None:
        """Of what `to_json` gave."""
        return cls(told["responses"], told["tokens"], told["cut"]) if told else None

    def __add__(self, other: Lengths) -> Lengths:
        return Lengths(self.responses + other.responses, self.tokens + other.tokens, self.cut + other.cut)

    @property
    def mean_tokens(self) -> float:
        """New tokens of a response."""
        return self.tokens / self.responses

    @property
    def share_cut(self) -> float:
        """Of the responses, those that the limit cut, 0 to 1."""
        return self.cut / self.responses

    def to_json(self) -> dict[str, Any]:
        """As sweep.json and the leaderboard have it."""
        return {
            "responses": self.responses,
            "tokens": self.tokens,
            "mean_tokens": self.mean_tokens,
            "cut": self.cut,
        }


def add_up(every: Iterable[Lengths | None]) -> Lengths | None:
    """Of several parts together; None where there are none, and where one is unknown."""
    total: Lengths | None = None
    for one in every:
        if one is None:
            return None
        total = one if total is None else total + one
    return total


def show_lengths(one: Lengths | None) -> str:
    """Mean new tokens of a response, and the share that was cut where any was: `41`, `118, 12 % cut`."""
    if one is None:
        return "-"
    mean = f"{one.mean_tokens:,.0f}" if one.mean_tokens >= 10 else f"{one.mean_tokens:.1f}"
    return f"{mean}, {_percent(one.share_cut)} cut" if one.cut else mean


def tell_cuts(of: str, arms: Mapping[str, Lengths | None], baseline: Lengths | None) -> list[str]:
    """A sentence for each arm that loses its ends to the limit much more often than the baseline does.

    Args:
        of: what they are arms of.
        arms: name -> lengths of its responses.
        baseline: those of the unsteered responses.
    """
    if baseline is None:
        return []
    return [
        f"{arm} of {of}: the limit of new tokens cut {one.cut} of {one.responses} responses "
        f"({_percent(one.share_cut)}; without steering {_percent(baseline.share_cut)}), so a loss may be one of length "
        "and not of sense: a longer limit, as in --gen_kwargs max_gen_toks=1024 (or max_answer_toks, if that cut), "
        "tells which"
        for arm, one in arms.items()
        if one is not None and one.share_cut - baseline.share_cut >= _RISE
    ]


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if 0 < share < 0.01 else f"{100 * share:.0f} %"
