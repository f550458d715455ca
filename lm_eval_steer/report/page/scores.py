"""Whether a response that no run scored is right: read off the responses to the same task that were scored."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol


class Scored(Protocol):
    """A response with what is known of it."""

    @property
    def text(self) -> str: ...

    @property
    def answer(self) -> str | None: ...

    @property
    def score(self) -> float | None: ...


@dataclass
class Scores:
    """What is known: the score of a response, of an answer to a document, and of the target as the answer.

    The last two hold only where nothing that was scored speaks against them.

    Attributes:
        texts: document and response -> score.
        answers: document and answer -> score; empty where equal answers to a document scored differently.
        targets: document -> its target.
        equal: score of answers that are the target; None where there are none, or several scores.
        other: of all other answers.
    """

    texts: dict[tuple[Hashable, str], float] = field(default_factory=dict)
    answers: dict[tuple[Hashable, str | None], float] = field(default_factory=dict)
    targets: Mapping[Any, str] = field(default_factory=dict)
    equal: float | None = None
    other: float | None = None

    @classmethod
    def of(cls, scored: Iterable[tuple[Hashable, Scored]], targets: Mapping[Any, str], is_binary: bool) -> Scores:
        """Learn from (document, response) pairs; of scores that are no right or wrong, only equal responses tell."""
        found = cls()
        by_answer: dict[tuple[Hashable, str | None], set[float]] = {}
        by_target: dict[bool, set[float]] = {True: set(), False: set()}
        for key, one in scored:
            if one.score is not None:
                found.texts[key, one.text] = one.score
                by_answer.setdefault((key, one.answer), set()).add(one.score)
                by_target[one.answer == targets.get(key)].add(one.score)
        if is_binary and all(len(values) == 1 for values in by_answer.values()):
            found.answers = {key: min(values) for key, values in by_answer.items()}
            found.targets = targets
            found.equal, found.other = (
                min(values) if len(values) == 1 else None for values in (by_target[True], by_target[False])
            )
        return found

    def score(self, key: Hashable, text: str, answer: str | None) -> float | None:
        """Of a response; None where nothing tells."""
        if (key, text) in self.texts:
            return self.texts[key, text]
        if (key, answer) in self.answers:
            return self.answers[key, answer]
        if not self.answers:
            return None
        return self.equal if answer == self.targets.get(key) else self.other
