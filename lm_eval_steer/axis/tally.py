"""What the votes of a run came to, for its result file."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any

from lm_eval_steer.axis.voting import Vote


@dataclass
class Tally:
    """What the votes of a run came to.

    Attributes:
        keys: task -> what read its answers.
        requests: how many were voted on.
        unanimous: of them, those on which all answers that were counted agree.
        no_answer: of them, those without any answer.
        responses: how many votes there could have been.
        skipped: how many of them could not change their vote any more and were left out, in the record or not.
        unfinished: comparisons of answers that had no verdict in time and counted as unequal.
    """

    keys: dict[str, str] = field(default_factory=dict)
    requests: int = 0
    unanimous: int = 0
    no_answer: int = 0
    responses: int = 0
    skipped: int = 0
    unfinished: int = 0

    def __add__(self, other: Tally) -> Tally:
        """What two processes came to, of which each voted on requests of its own."""
        names = [field.name for field in fields(self) if field.name != "keys"]
        return Tally(self.keys | other.keys, **{name: getattr(self, name) + getattr(other, name) for name in names})

    def add(self, vote: Vote, voted: int, variants: int) -> None:
        """Count a vote over the first `voted` of `variants` strengths."""
        self.requests += 1
        self.unanimous += bool(vote.counts) and len(vote.counts[0].members) == voted
        self.no_answer += vote.answer is None
        self.responses += variants
        self.skipped += variants - voted

    def report(self) -> dict[str, Any] | None:
        """The votes as a result file shows them; None where nothing was voted on."""
        return asdict(self) if self.requests else None
