"""Arms of a sweep as data: what a model was steered with, and in which role that was tested."""

from __future__ import annotations

from dataclasses import dataclass

from lm_eval_steer.interventions.controls import Control

VECTOR = "vector"
"""What a sweep's only vector is called among its contenders."""

ROLES = ("baseline", "best", "vote", "per-layer")
"""Without steering; the strength that validation rows chose; the vote over all; a strength for each block."""


@dataclass(frozen=True)
class Arm:
    """One way in which the test documents were answered.

    Attributes:
        role: one of `ROLES`. The control `identity` is a baseline, and `self-consistency` a vote.
        vector: name of the vector where the sweep was given several; None for its only one, for controls and for the
            baseline.
        control: kind of the control; None for a vector and the baseline.
        seed: of the control `random`; None for all others.
    """

    role: str
    vector: str | None = None
    control: str | None = None
    seed: int | None = None

    @property
    def contender(self) -> str:
        """The vector or the control: `vector`, or its name; `random:1`, `negated`, ..."""
        return self._control.name if self._control else self.vector or VECTOR

    @property
    def name(self) -> str:
        """As tables show it and sweep.json has it: `baseline`, `best`, `mapped vote`, `random:1 best`, `identity`."""
        if self._control and not self._control.steers:
            return self.contender  # which has one arm
        alone = self.contender == VECTOR or (self.role == "baseline" and self.control is None)
        return self.role if alone else f"{self.contender} {self.role}"

    @property
    def _control(self) -> Control | None:
        return None if self.control is None else Control(self.control, self.seed)
