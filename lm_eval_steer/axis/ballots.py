"""Ballots: the arms of one pass, each of which has a response to every request, or a vote over several."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from lm_eval_steer.axis.record import Line
from lm_eval_steer.axis.settings import LineSettings
from lm_eval_steer.axis.tally import Tally
from lm_eval_steer.axis.voting import Vote, count, needed
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.arguments import SHARED
from lm_eval_steer.interventions.plan import SteeringPlan
from lm_eval_steer.text import quoted


class Ballot:
    """One arm of a pass: what its plan asks of each request, and the vote over that.

    Args:
        plan: of the arm.
        numbers: its interventions, in the order of the vote, by their numbers in the pass.
        settings: of their lines.

    Attributes:
        plan, numbers: as given.
        drew: whether a request asked for tokens to be drawn.
        tally: sums over the votes so far.
        counts: how many of its responses were run, and how many the record had.
    """

    def __init__(self, plan: SteeringPlan, numbers: Sequence[int], settings: Sequence[LineSettings]) -> None:
        self.plan, self.numbers = plan, tuple(numbers)
        self.drew = False
        self.tally = Tally()
        self.counts = {"run": 0, "from_record": 0}
        self._settings = list(settings)
        self._held = {sha for one in settings for sha in one.contents}

    def holds(self, line: Line) -> bool:
        """Whether a line of the pass is a response of this arm."""
        return line.settings in self._held

    @property
    def shas(self) -> list[str]:
        """SHA-256 of the settings of each intervention, by which lines are found; behind them those of drawn text."""
        return [one.of(drawn) for drawn in ((False, True) if self.drew else (False,)) for one in self._settings]

    @property
    def votes(self) -> bool:
        """Whether there are several responses, of which a vote makes one."""
        return len(self.numbers) > 1

    @property
    def weighs(self) -> bool:
        """Whether its votes are weighed by the probabilities of the responses."""
        return self.votes and self.plan.vote == "weighted"

    def next(
        self,
        voted: int,
        lines: Mapping[int, Line],
        weight: Callable[[Line], float],
        equal: Callable[[str, str], bool] | None,
    ) -> tuple[int, list[int], Vote | None]:
        """What a request needs next; once that is nothing, the vote over what it needed.

        Lines that are there beyond those change nothing: a vote is the same with a record as without.

        Args:
            voted: how many interventions, from the first on, the vote counts so far.
            lines: the responses that are there, with their answers, by number of the intervention.
            weight: of a response that has an answer.
            equal: whether two answers are the same; None compares the strings.

        Returns:
            how many the vote counts now, the numbers of the interventions that lack, and the vote, which is None while
            some lack and where a single response needs none.
        """
        every = len(self.numbers)
        if not self.votes:
            return every, [number for number in self.numbers if number not in lines], None
        while True:
            counted = [lines[number] for number in self.numbers[:voted]]
            answers = [line.answer for line in counted]
            weights = None
            if self.weighs:  # that of no answer is not looked at
                weights = [1.0 if line.answer is None else weight(line) for line in counted]
            least = needed(answers, every, weights, equal) if self.plan.vote_early_stop else every - voted
            if not least:
                return voted, [], count(answers, weights, equal)
            missing = [number for number in self.numbers[voted : voted + least] if number not in lines]
            if missing:
                return voted, missing, None
            voted += least


def refuse_unlike(plans: Sequence[SteeringPlan]) -> None:
    """Refuse arms that cannot be asked in one pass.

    Raises:
        SteeringError: names what differs, with both values.
    """
    first = plans[0]
    for plan in plans[1:]:
        for name in SHARED:
            one, other = getattr(first, name), getattr(plan, name)
            if one != other:
                raise SteeringError(
                    f"arms of one pass share requests and record, and two of them have {name}={quoted(one)} and "
                    f"{name}={quoted(other)}: give them one, or run them one after the other"
                )
