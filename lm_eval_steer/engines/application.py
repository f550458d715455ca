"""Proof that the steering was applied: what its hooks counted, and what prompts, responses and `tokens` imply."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lm_eval_steer.engines.hf.hooks import Steerer
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.tokens import TOKENS


class Application:
    """The counts of an engine.

    Args:
        steerer: whose hooks count; None where no strength steers.
        strengths: float32 [strengths, steered blocks].
        tokens: which positions are steered (interventions/tokens.py).

    Attributes:
        not_compared: why the counts need not be equal any more, since more was run than prompts and responses say;
            empty as long as they must.
    """

    def __init__(self, steerer: Steerer | None, strengths: np.ndarray, tokens: str) -> None:
        self._steerer, self._tokens = steerer, tokens
        self._steers = strengths != 0
        self._implied = np.zeros(strengths.shape[1], dtype=np.int64)
        self.not_compared = ""

    def positions(self, prompt: int, new: int) -> int:
        """How many positions of a row are steered: of its `prompt` tokens, and its `new` ones but the last."""
        return TOKENS[self._tokens].count(prompt, prompt + new - 1)

    def imply(self, number: int, positions: int) -> None:
        """Count what a row of a strength implies."""
        self._implied += positions * self._steers[number]

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
