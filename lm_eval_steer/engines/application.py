"""Proof that the steering was applied: what its hooks counted, and what prompts, responses and `tokens` imply."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lm_eval_steer.engines.doses import by_fingerprint
from lm_eval_steer.engines.hf.hooks import Steerer
from lm_eval_steer.engines.measured import Measured
from lm_eval_steer.errors import SteeringError


class Application:
    """The counts of an engine.

    Args:
        steerer: whose hooks count; None where no intervention steers.

    Attributes:
        not_compared: why the counts need not be equal any more, since more was run than prompts and responses say;
            empty as long as they must.
    """

    def __init__(self, steerer: Steerer | None) -> None:
        self._steerer = steerer
        self._implied = np.zeros(0 if steerer is None else len(steerer.sites.blocks), dtype=np.int64)
        self.not_compared = ""

    def positions(self, number: int, prompt: int, new: int) -> int:
        """How many positions of a row are steered: of its `prompt` tokens, and its `new` ones but the last.

        Args:
            number: of the row's intervention.
            prompt: tokens of the prompt.
            new: tokens behind it.
        """
        return 0 if self._steerer is None else self._steerer.sites.rules[number].count(prompt, prompt + new - 1)

    def imply(self, number: int, positions: int) -> None:
        """Count what a row of an intervention implies."""
        if self._steerer is not None:
            self._implied += positions * self._steerer.sites.acts[number].numpy()

    def measured(self) -> Measured:
        """All that was counted and measured."""
        if self._steerer is None:
            return Measured()
        steered = self._steerer.applied
        doses = by_fingerprint(self._steerer.doses.sums(), self._steerer.sites.interventions)
        return Measured(doses, steered, dict(zip(steered, self._implied.tolist(), strict=True)), self.not_compared)

    def report(self) -> dict[str, Any]:
        """Rows and positions per steered block.

        Returns:
            steered: block -> what its hook counted.
            implied: block -> what lengths of prompts and responses, and `tokens`, say; None where `not_compared`.
            not_compared: the reason, only where there is one.
        """
        assert self._steerer is not None
        steered = self._steerer.applied
        if self.not_compared:
            return uncompared(steered, self.not_compared)
        return {"steered": steered, "implied": dict(zip(steered, self._implied.tolist(), strict=True))}


def uncompared(steered: Mapping[int, int], reason: str) -> dict[str, Any]:
    """A report of counts that need not be equal to what is implied."""
    return {"steered": dict(steered), "implied": None, "not_compared": reason}


def refuse_difference(report: Mapping[str, Any] | None, record: str | None) -> None:
    """End the run where other positions were steered than prompts, responses and `tokens` imply.

    Args:
        report: see `Application.report`; None where nothing is steered.
        record: folder to which the responses went.

    Raises:
        SteeringError: with the first block of another count.
    """
    if report is None or report["implied"] is None:
        return
    for block, implied in report["implied"].items():
        if report["steered"][block] != implied:
            held = f", also those in the record {record}: name another one" if record else ""
            raise SteeringError(
                f"block {block} was steered at {report['steered'][block]} positions, where prompts and responses imply "
                f"{implied}: the results of this run are void{held}; try another batch_size, and report this model"
            )
