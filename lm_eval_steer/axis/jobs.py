"""What axis/axis.py asks of an engine, and what comes of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from lm_eval.api.instance import Instance

Scores = list[tuple[float, bool]]
"""Log-likelihood of each continuation of a document, and whether greedy decoding would have written it."""


@dataclass(frozen=True)
class Asked:
    """What one variant is asked.

    Attributes:
        item: number of the request, or of the document whose choices are scored.
        variant: number of the variant.
        seed: of its draws, where tokens are drawn.
    """

    item: int
    variant: int
    seed: int


@dataclass(frozen=True)
class Written:
    """What an engine wrote.

    Attributes:
        text: the response, as the harness would have it.
        tokens: how many new tokens were run for it; None where unknown.
        logprob: sum of their log-probabilities; None where unknown.
        stop: `eos`, `stop`, `length`, or None where unknown.
        seconds: its share of the time; None where the engine does not tell, and only how long it took to come is known.
    """

    text: str
    tokens: int | None = None
    logprob: float | None = None
    stop: str | None = None
    seconds: float | None = None


class Engine(Protocol):
    """What a model class brings. `finish` is called with a number of `asked` and what came of it, in any order."""

    def write(
        self, requests: Sequence[Instance], asked: Sequence[Asked], finish: Callable[[int, Written], None]
    ) -> None:
        """Continue the prompts of generate_until requests."""

    def score(
        self, documents: Sequence[Sequence[Instance]], asked: Sequence[Asked], finish: Callable[[int, Scores], None]
    ) -> None:
        """Score the continuations of the loglikelihood requests of documents."""

    def length(self, request: Instance) -> int:
        """How many tokens the continuation of a loglikelihood request has."""
