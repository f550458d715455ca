"""Proof that the steering was applied: what its hooks counted, and what prompts, responses and `tokens` imply."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lm_eval_steer.engines.measured import Measured, Sums
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.intervention import Intervention
from lm_eval_steer.interventions.tokens import TokenRule
from lm_eval_steer.sites import Place, told


class Application:
    """The counts of an engine.

    Args:
        interventions: in the order of their numbers.
        steered: says at how many rows and positions each place was steered so far.
        rules: token rule of each intervention.

    Attributes:
        not_compared: why the counts need not be equal any more, since more was run than prompts and responses say;
            empty as long as they must.
    """

    def __init__(
        self,
        interventions: Sequence[Intervention],
        steered: Callable[[], Mapping[Place, int]],
        rules: Sequence[TokenRule],
    ) -> None:
        self._steered, self._rules = steered, rules
        self._places = [one.places for one in interventions]
        self._implied = Counter[Place]()
        self.not_compared = ""

    def positions(self, number: int, prompt: int, new: int, tokens: Sequence[int]) -> int:
        """How many positions of a row are steered: of its `prompt` tokens, and its `new` ones but the last.

        Args:
            number: of the row's intervention.
            prompt: tokens of the prompt.
            new: tokens behind it.
            tokens: ids of all of them, of which the last may lack.
        """
        return self._rules[number].count(prompt, prompt + new - 1, tokens)

    def imply(self, number: int, positions: int) -> None:
        """Count what a row of an intervention implies."""
        self._implied.update(dict.fromkeys(self._places[number], positions))

    def measured(self, doses: Mapping[str, Sums]) -> Measured:
        """All that was counted, beside what was measured."""
        steered = dict(self._steered())
        return Measured(dict(doses), steered, {place: self._implied[place] for place in steered}, self.not_compared)

    def check(self) -> None:
        """End the run where other positions were steered than prompts, responses and token rules imply.

        Raises:
            SteeringError: with the first place of another count.
        """
        refuse_difference(report(self.measured({})))


def report(measured: Measured) -> dict[str, Any]:
    """Rows and positions per steered place, as a result file has them.

    Returns:
        steered: place -> what hooks counted.
        implied: place -> what lengths of prompts and responses, and `tokens`, say; None where `not_compared`.
        not_compared: the reason, only where there is one.
    """
    if measured.not_compared:
        return uncompared(measured.steered, measured.not_compared)
    return {"steered": dict(measured.steered), "implied": dict(measured.implied)}


def uncompared(steered: Mapping[Place, int], reason: str) -> dict[str, Any]:
    """A report of counts that need not be equal to what is implied."""
    return {"steered": dict(steered), "implied": None, "not_compared": reason}


def refuse_difference(report: Mapping[str, Any] | None) -> None:
    """End the run where other positions were steered than prompts, responses and `tokens` imply.

    Args:
        report: see `report`; None where nothing is steered.

    Raises:
        SteeringError: with the first place of another count.
    """
    if report is None or report["implied"] is None:
        return
    for place, implied in report["implied"].items():
        if report["steered"][place] != implied:
            raise SteeringError(
                f"{told(place)} was steered at {report['steered'][place]} positions, where prompts and responses imply "
                f"{implied}: the results of this run are void, also those in its record (name another one); try "
                "another batch_size, and report this model"
            )
