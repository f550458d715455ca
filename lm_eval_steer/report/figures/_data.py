"""What the figures are drawn from. Shares and accuracies are from 0 to 1."""

from __future__ import annotations

from dataclasses import dataclass

from lm_eval_steer.compare.stats import wilson_interval
from lm_eval_steer.errors import SteeringError


@dataclass(frozen=True)
class Count:
    """Right answers among documents."""

    correct: int
    n: int

    def __post_init__(self) -> None:
        if not 0 <= self.correct <= self.n or not self.n:
            raise SteeringError(f"{self.correct} of {self.n} documents right is no count: give 0 to n of at least 1")

    @property
    def share(self) -> float:
        """Accuracy, 0 to 1."""
        return self.correct / self.n

    @property
    def interval(self) -> tuple[float, float]:
        """95 % Wilson interval of the accuracy."""
        return wilson_interval(self.correct, self.n)


@dataclass(frozen=True)
class Curve:
    """One arm over its strengths.

    Attributes:
        child: name of the child, a row of panels.
        parent: name of the parent, a column of panels.
        points: strength -> its count.
        baseline: of the same child on the same documents, unsteered.
        control: `random:1`, `shuffled`, ...; empty for the vector itself.
    """

    child: str
    parent: str
    points: dict[float, Count]
    baseline: Count
    control: str = ""


@dataclass(frozen=True)
class VoteChange:
    """The vote of one arm against its baseline.

    Attributes:
        child: name of the child, a group of bars.
        parent: name of the parent.
        baseline: accuracy of the child unsteered.
        vote: accuracy of the vote.
        low: lower end of the 95 % interval of `vote` - `baseline`, paired by document.
        high: upper end.
        control: as in `Curve`.
    """

    child: str
    parent: str
    baseline: float
    vote: float
    low: float
    high: float
    control: str = ""

    def relative(self, change: float) -> float:
        """A change of accuracy as per cent of the baseline."""
        if not self.baseline:
            raise SteeringError(
                f"{self.child} has a baseline of 0 %, and no change is a share of that: leave it out of this figure"
            )
        return 100 * change / self.baseline


@dataclass(frozen=True)
class BlockDose:
    """What one strength was in one block: a record of `steering.doses` in a result file.

    Attributes:
        alpha: strength.
        block: the child's block.
        dose: mean ‖α·v‖ / ‖h‖.
        survival: share of the shift that the dtype kept; None where that is unknown.
    """

    alpha: float
    block: int
    dose: float
    survival: float | None = None


@dataclass(frozen=True)
class Agreement:
    """The vote over one document.

    Attributes:
        share: of the strengths, those whose answer is the winner, 0 to 1.
        correct: whether the winner is right.
        control: as in `Curve`.
    """

    share: float
    correct: bool
    control: str = ""
