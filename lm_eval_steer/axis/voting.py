"""One response out of several: the vote over the answers that a set of strengths gave to one request.

Everything here is in alpha order: index 0 is the set's earliest alpha (alphas.py). A class is a set of equal answers.

    class          an answer joins the first class whose first member it equals, or opens the next one
    winner         the class with the largest sum of weights; of equal sums, the one opened first
    representative the winner's first member; without any answer, response 0

So classes are numbered by their earliest alpha, and what joins a class later changes neither its number nor its
representative. Sums are exact rational numbers: the order of adding and rounding decide nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

from lm_eval_steer.errors import SteeringError

Equal = Callable[[str, str], bool]
"""(a class's first member, an answer) -> whether they are the same; need be neither symmetric nor transitive."""


class Tally(NamedTuple):
    """One class of equal answers.

    Attributes:
        answer: that of the first member.
        weight: sum of the members' weights; their number in a mode vote.
        members: their indices, ascending.
    """

    answer: str
    weight: float
    members: tuple[int, ...]


@dataclass(frozen=True)
class Vote:
    """The outcome of a vote.

    Attributes:
        winner: index of the response that represents the vote.
        answer: its answer; None where no response has one.
        counts: the classes, each after those that were opened before it. Who gave no answer is in none.
    """

    winner: int
    answer: str | None
    counts: tuple[Tally, ...]


def count(
    answers: Sequence[str | None],
    weights: Sequence[float] | None = None,
    equal: Equal | None = None,
) -> Vote:
    """Count a vote.

    Args:
        answers: one per alpha, in alpha order; None for no answer, which loses to any answer.
        weights: one per answer, in (0, 1] (see `weigh`); None gives every answer 1, the mode vote. Those of no answers
            are not looked at.
        equal: whether two answers are the same; None compares the strings. Identical strings are equal unasked.

    Raises:
        SteeringError: without any response, for more or fewer weights than answers, and for a weight outside (0, 1].
    """
    if not answers:
        raise SteeringError("a vote over 0 responses has no winner: give at least 1")
    classes = _classes(answers, weights, equal)
    if not classes:
        return Vote(0, None, ())
    best = classes[_leader([each.weight for each in classes])]
    counts = tuple(Tally(each.answer, float(each.weight), tuple(each.members)) for each in classes)
    return Vote(best.members[0], best.answer, counts)


def is_decided(
    answers: Sequence[str | None],
    total: int,
    weights: Sequence[float] | None = None,
    equal: Equal | None = None,
) -> bool:
    """Whether the alphas that are left cannot change the winner and its representative, whatever they answer.

    Exact, where each of them may repeat an answer, give a new one or none, with any weight in (0, 1]. Once it is true,
    `count` of these answers names the response that `count` of all would name.

    Args:
        answers: of the first alphas in alpha order, as for `count`.
        total: number of alphas, these included.
        weights: as for `count`, one per known answer.
        equal: as for `count`.

    Raises:
        SteeringError: for more answers than alphas, more or fewer weights than answers, and a weight outside (0, 1].
    """
    return needed(answers, total, weights, equal) == 0


def needed(
    answers: Sequence[str | None],
    total: int,
    weights: Sequence[float] | None = None,
    equal: Equal | None = None,
) -> int:
    """The least number of further answers after which the vote can be decided; 0 where it is (see `is_decided`).

    That is the best case, in which all of them join the leading class with weight 1, or the class that the first of
    them opens. What is still left then may all go to one rival with weight 1 each, and that rival must not win.

    Args and errors as for `is_decided`.
    """
    left = total - len(answers)
    if left < 0:
        raise SteeringError(f"a vote over {total} strengths has {len(answers)} answers: give one per strength at most")
    sums = [each.weight for each in _classes(answers, weights, equal)]
    sums = sums or [Fraction(0)]  # the class that the next answer opens
    lead = _leader(sums)
    # After k: the leader has sums[lead] + k, a rival at most its sum + left - k. A rival that was opened earlier wins
    # a tie too. The last rival is a class that is not open yet.
    least = math.ceil((left - sums[lead]) / 2)
    for place, rival in enumerate(sums):
        gap = (rival + left - sums[lead]) / 2
        if place < lead:
            least = max(least, math.floor(gap) + 1)
        elif place > lead:
            least = max(least, math.ceil(gap))
    return max(least, 0)


def weigh(mean_logprob: float) -> float:
    """Weight of a response in a weighted vote: exp of its mean token log-probability, in (0, 1].

    That is the geometric mean of its tokens' probabilities, so a longer response weighs no less for its length. The
    log-probabilities themselves would not do: they are negative, so a sum of them would punish agreement.

    Args:
        mean_logprob: mean over the response's tokens of the natural log-probability, at most 0. Up to 1e-3 above is
            taken for rounding.

    Raises:
        SteeringError: above that, or not finite.
    """
    if not -math.inf < mean_logprob <= 1e-3:
        raise SteeringError(
            f"a mean token log-probability of {mean_logprob!r} is no weight: it must be finite and at most 0; "
            "use vote=mode, or a dtype in which the model's logits are finite"
        )
    return max(math.exp(min(mean_logprob, 0.0)), math.ulp(0.0))  # exp is 0 below -745


@dataclass
class _Class:
    """A Tally while it is being counted, with the exact sum."""

    answer: str
    weight: Fraction
    members: list[int]


def _classes(answers: Sequence[str | None], weights: Sequence[float] | None, equal: Equal | None) -> list[_Class]:
    """The classes in the order in which they were opened."""
    if weights is not None and len(weights) != len(answers):
        raise SteeringError(f"a vote has {len(answers)} answers and {len(weights)} weights: give one weight per answer")
    classes: list[_Class] = []
    for index, answer in enumerate(answers):
        if answer is None:
            continue
        weight = 1.0 if weights is None else float(weights[index])
        if not 0 < weight <= 1:
            raise SteeringError(f"answer {index} of a vote weighs {weight!r}: use weights above 0 and up to 1")
        for known in classes:
            if known.answer == answer or (equal is not None and equal(known.answer, answer)):
                known.weight += Fraction(weight)
                known.members.append(index)
                break
        else:
            classes.append(_Class(answer, Fraction(weight), [index]))
    return classes


def _leader(sums: Sequence[Fraction]) -> int:
    """Place of the largest sum, the first of equal ones."""
    return max(range(len(sums)), key=sums.__getitem__)
