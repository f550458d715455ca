"""Whether a response that no run scored is right: read off the responses to the same task that were scored."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Response:
    """One response to one document.

    Attributes:
        text: what the model wrote.
        answer: what is read from it; None for no answer.
        score: the task's first metric; None where no run scored a response like it.
        tokens: generated; None where unknown.
    """

    text: str
    answer: str | None
    score: float | None
    tokens: int | None = None


class Scores:
    """What is known of responses: equal ones to a document score equally.

    Where scores are right or wrong, so do equal answers, unless some that were scored did not; and any other answer is
    held against the document's target, if that agrees with all that was scored.
    """

    def __init__(
        self, scored: Iterable[tuple[Hashable, Response]], targets: Mapping[Any, str], is_binary: bool
    ) -> None:
        """Learn from responses, each with its document.

        Args:
            scored: (document, response).
            targets: document -> its right answer.
            is_binary: whether scores are right or wrong.
        """
        by_answer: dict[tuple[Hashable, str | None], set[float]] = {}
        by_target: dict[bool, set[float]] = {True: set(), False: set()}
        self._targets = targets
        self._of_texts: dict[tuple[Hashable, str], float] = {}
        for key, one in scored:
            if one.score is not None:
                self._of_texts[key, one.text] = one.score
                by_answer.setdefault((key, one.answer), set()).add(one.score)
                by_target[one.answer == targets.get(key)].add(one.score)
        told = is_binary and all(len(values) == 1 for values in by_answer.values())
        self._of_answers = {key: min(values) for key, values in by_answer.items()} if told else {}
        self._of_target = {equal: min(values) if len(values) == 1 else None for equal, values in by_target.items()}

    def score(self, key: Hashable, text: str, answer: str | None) -> float | None:
        """Of a response to a document; None where nothing tells."""
        if (key, text) in self._of_texts:
            return self._of_texts[key, text]
        if not self._of_answers:
            return None
        return self._of_answers.get((key, answer), self._of_target[answer == self._targets.get(key)])
