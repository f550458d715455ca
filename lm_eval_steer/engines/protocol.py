"""What an engine is: it loads interventions, runs jobs, and says what it measured. It knows nothing of the harness."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from lm_eval_steer.engines.measured import Measured
from lm_eval_steer.interventions.intervention import Intervention

Scores = list[tuple[float, bool]]
"""Log-likelihood of each continuation of a job, and whether greedy decoding would have written it."""


@dataclass(frozen=True)
class Visible:
    """Limit of the visible part of a text: of what stands behind the last end of a thought.

    A text in which no thought ends has no visible part, and this limit does not hold for it.

    Attributes:
        new_tokens: the most tokens of that part; with the last of them the text ends.
        behind: the token, or the string in the text without special tokens, that ends a thought.
        begun: whether the prompt has ended the thought, so that the part begins with the first new token.
    """

    new_tokens: int
    behind: str | int
    begun: bool


@dataclass(frozen=True)
class Generation:
    """How a text is written.

    Attributes:
        stop: strings that end it.
        new_tokens: the most tokens that are written.
        arguments: further ones, as the engine's own library takes them.
        visible: limit of the visible part; None for none.
    """

    stop: tuple[str, ...]
    new_tokens: int
    arguments: Mapping[str, Any] = field(default_factory=dict)
    visible: Visible | None = None


@dataclass(frozen=True, eq=False)
class Job:
    """What an engine is asked: one request under one intervention.

    Attributes:
        key: the caller's own, by which it knows the job again.
        intervention: number among those that were loaded.
        prompt: token ids of a prompt to be continued; empty where continuations are scored.
        generation: how it is continued; None where continuations are scored.
        pairs: token ids of contexts and continuations to be scored, those of one document; empty where text is written.
        seed: of the tokens that are drawn; None where none are.
    """

    key: Any
    intervention: int
    prompt: list[int] = field(default_factory=list)
    generation: Generation | None = None
    pairs: tuple[tuple[list[int], list[int]], ...] = ()
    seed: int | None = None


@dataclass(frozen=True, eq=False)
class Done:
    """A job that is done.

    Attributes:
        job: which.
        tokens: the new token ids, with the one that ended the text; None where the engine tells none.
        text: the response, where the engine reads tokens itself; else the caller does.
        scores: of the job's pairs, in their order; None where text was written.
        logprob: sum of the new tokens' log-probabilities; None where unknown.
        stop: what ended the text: `eos`, `stop` or `length`; None where unknown.
        seconds: its share of the time; None where the engine does not tell.
    """

    job: Job
    tokens: list[int] | None = None
    text: str | None = None
    scores: Scores | None = None
    logprob: float | None = None
    stop: str | None = None
    seconds: float | None = None


class Engine(Protocol):
    """A program that runs one model."""

    def load(self, interventions: Sequence[Intervention], blocks: str | None = None, /) -> None:
        """Take these from now on, and count from nothing: all of them or, where one is refused, those before.

        Args:
            interventions: in the order of their numbers.
            blocks: where the blocks are, if they cannot be found by shape.

        Raises:
            SteeringError: for an intervention that does not fit the model.
        """

    def run(self, jobs: Sequence[Job]) -> Iterator[Done]:
        """Do jobs, in any order; each comes back once, as soon as it is done.

        Raises:
            SteeringError: for a job that cannot be done, and where positions were steered that should not have been.
        """

    def measured(self) -> Measured:
        """What was measured since `load`."""
