"""What is asked: one request of the harness, or one document whose choices are scored, as the axis sees it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

from lm_eval_steer.axis.record import Line, digest
from lm_eval_steer.engines.protocol import Done, Job

UNNAMED = "unnamed"
"""Stands for the task of requests that were made by hand."""


class Question(ABC):
    """One question, to which there is a response per intervention.

    Whoever knows the harness and the model makes them (models/questions.py).

    Args:
        task: name of its task; None for one that was made by hand.
        doc_id: the harness's number of its document; None for one that was made by hand.
        repeats: how often the harness asks it; 0 where that is unknown.
        parts: its prompt, or all of its contexts and continuations.
        arguments: of the generation, JSON-ready; None where choices are scored.
        draws: whether these ask for tokens to be drawn.

    Attributes:
        task, doc_id, repeats, parts, arguments, draws: as given.
        sha: SHA-256 of the parts.
        reads: what reads the answers, for the result file; None where nothing does.
        equal: whether an answer (second) equals that of a class (first); None where equal answers are equal strings.
    """

    kind: str
    """Of its lines (record/line.py)."""

    reads: str | None = None
    equal: Callable[[str, str], bool] | None = None

    def __init__(
        self,
        task: str | None,
        doc_id: int | None,
        repeats: int,
        parts: Sequence[str],
        arguments: Any = None,
        draws: bool = False,
    ) -> None:
        self.task, self.doc_id, self.repeats = task or UNNAMED, doc_id, repeats
        self.arguments, self.draws = arguments, draws
        self.parts = list(parts)
        self.sha = digest(self.parts)

    def refuse_vote(self, responses: int) -> None:
        """Refuse a vote over so many responses where the question has no answers.

        Raises:
            SteeringError: then.
        """
        return

    @property
    def undecided(self) -> int:
        """How many comparisons of answers of this process had no verdict in time and so were unequal."""
        return 0

    @abstractmethod
    def job(self, key: Any, number: int, seed: int) -> Job:
        """What an engine is asked.

        Args:
            key: by which the axis knows the job again.
            number: of the intervention.
            seed: for tokens that are drawn.

        Raises:
            SteeringError: for what the model cannot do.
        """

    @abstractmethod
    def fields(self, done: Done) -> dict[str, Any]:
        """What a line says of a job that is done: response or scores, tokens, logprob, stop."""

    @abstractmethod
    def answer(self, line: Line) -> str | None:
        """The answer in a response; None for no answer."""

    @abstractmethod
    def weight(self, line: Line) -> float:
        """Weight of a response that has an answer, in (0, 1].

        Raises:
            SteeringError: where it has none.
        """
