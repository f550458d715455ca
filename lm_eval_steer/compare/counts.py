"""How many answers were right: by strength, and by how many strengths agree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lm_eval_steer.compare.stats import wilson_interval
from lm_eval_steer.errors import SteeringError

if TYPE_CHECKING:
    from lm_eval_steer.compare.responses import View
    from lm_eval_steer.compare.rows import Row


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
class Agreement:
    """The vote over one document.

    Attributes:
        share: of the strengths, those whose answer is the winner, 0 to 1.
        correct: whether the winner is right.
        control: its kind, `random`, `self-consistency`, ...; empty for the vector itself.
    """

    share: float
    correct: bool
    control: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise SteeringError(f"an agreement of {self.share:.4g} is no share: give 0 to 1")


def count_of(score: float | None, n: int) -> Count | None:
    """Right documents, where a score is a share of them."""
    if score is None or not n or not 0 <= score <= 1:
        return None
    right = round(score * n)
    return Count(right, n) if abs(score * n - right) < 1e-6 else None


def on_validation_rows(row: Row) -> tuple[Count | None, list[tuple[str, dict[float, Count]]]] | None:
    """Of the strengths that a sweep searched for a row's vector and its controls, where scores are counts.

    Returns:
        Of strength 0, which the sweep's vectors share; and (kind of control, strength -> count) of the row's vector,
        whose kind is empty, and of each control. None where nothing was searched.
    """
    validation = row.any_part.validation if row.runs and row.any_part else {}
    scores, n = validation.get("scores"), validation.get("n") or 0
    if not scores:
        return None
    raced: Mapping[str, Mapping[str, int]] = validation.get("documents") or {}
    counted = {
        contender: {
            float(alpha): count
            for alpha, score in found.items()
            if (count := count_of(score, raced.get(contender, {}).get(alpha, n)))
        }
        for contender, found in scores.items()
    }
    baseline = next((found[0.0] for found in counted.values() if 0.0 in found), None)
    kinds = {part.arm.contender: part.arm.control or "" for part in row.parts.values() if part.arm.steers}
    return baseline, [
        (kind, {alpha: count for alpha, count in counted.get(contender, {}).items() if alpha})
        for contender, kind in kinds.items()
    ]


def on_documents(view: View) -> dict[float, Count]:
    """Strength -> right documents, where all responses are known to be right or wrong."""
    found = {}
    for alpha, cells in zip(view.alphas, zip(*view.cells, strict=True), strict=True):
        scores = [cell.score if cell else None for cell in cells]
        if alpha and None not in scores:
            found[alpha] = Count(scores.count(1.0), len(scores))
    return found


def agreements(view: View) -> list[Agreement]:
    """Of every document, each right or wrong, or of none: those that an early stop left open are no random choice."""
    if not view.voted or not view.voters:
        return []
    found = []
    for cells, vote in zip(view.cells, view.voted, strict=True):
        answers = [cell.answer for place in view.voters if (cell := cells[place])]
        if vote is None or vote.score is None or len(answers) < len(view.voters):
            return []
        share = 0.0 if vote.answer is None else answers.count(vote.answer) / len(answers)
        found.append(Agreement(share, vote.score == 1, view.kind))
    return found
