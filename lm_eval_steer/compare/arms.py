"""Arms as data: what a model was steered with, and in which role that was tested."""

from __future__ import annotations

import re
from dataclasses import dataclass

from lm_eval_steer.interventions.alphas import alpha_name
from lm_eval_steer.interventions.controls import Control

VECTOR = "vector"
"""What a sweep's only vector is called among its contenders."""

OWN = "own"
"""What --arms calls the vector that was made from the child itself: the whole, of whose effect others have a share."""

CUT = "cut"
"""What --arms calls the vector that the paper's own map brought to the child, cut or padded to its width."""

ROLES = ("baseline", "best", "vote", "per-layer")
"""Of a sweep's arms: without steering; the strength that validation rows chose; the vote over all; a strength for each
block."""

OTHER = re.compile(r"prompt|shots:\d+|model:[\w.-]+", re.ASCII)
"""What baselines of another kind are called: a system instruction, other shots, another checkpoint."""

ONE = "one"
"""The role of a run outside a sweep at one strength, which nobody chose on validation rows."""


@dataclass(frozen=True)
class Arm:
    """One way in which the test documents were answered.

    Attributes:
        role: one of `ROLES`, or `ONE`. The control `identity` is a baseline, and `self-consistency` a vote.
        vector: name of the vector where the sweep was given names, also of that of which a control is; None for the
            only one and its controls, for controls of all vectors, and for the baseline.
        control: kind of the control; None for a vector and the baseline.
        seed: of a control of which there are many, such as `random`; None for all others.
        strength: of the role `ONE`; None for all others.
        other: what stands in place of steering, as `OTHER` has it; None for all others. Its role is `baseline`.
    """

    role: str
    vector: str | None = None
    control: str | None = None
    seed: int | None = None
    strength: float | None = None
    other: str | None = None

    @property
    def contender(self) -> str:
        """The vector or the control: `vector`, or its name; `random:1`, `negated`, `own negated`, `shots:5`, ..."""
        if self.other is not None:
            return self.other
        return " ".join([*filter(None, [self.vector]), *([self._control.name] if self._control else [])]) or VECTOR

    @property
    def name(self) -> str:
        """As tables and files say it: `baseline`, `best`, `own vote`, `random:1 best`, `own negated best`."""
        if self.other is not None or (self._control and not self._control.steers):
            return self.contender  # which has one arm
        role = self.role if self.strength is None else alpha_name(self.strength)
        alone = self.contender == VECTOR or self == BASELINE
        return role if alone else f"{self.contender} {role}"

    @property
    def folder(self) -> str:
        """Its name as a file system takes it."""
        return self.name.replace(":", "-").replace(" ", "_")

    @property
    def steers(self) -> bool:
        """Whether it steers at all."""
        if self.other is not None:
            return False
        return self._control.steers if self._control else self != BASELINE

    @property
    def competes(self) -> bool:
        """Whether it belongs to the family of tests: it steers, or stands in place of steering."""
        return self.steers or self.other is not None

    @property
    def _control(self) -> Control | None:
        return None if self.control is None else Control(self.control, self.seed)


BASELINE = Arm("baseline")
"""The model as it is."""


def arm_alone(alphas: tuple[float, ...], control: Control | None, steers: bool) -> Arm:
    """The arm of a run outside a sweep.

    Args:
        alphas: its strengths, over which it voted where they are several.
        control: what took the vector's place.
        steers: whether any of its strengths does anything; some operators act at 0, too.
    """
    kind, seed = (control.kind, control.seed) if control else (None, None)
    if (control and control.is_plain) or (control is None and not steers):
        return Arm(BASELINE.role, None, kind)
    if len(alphas) > 1 or (control and not control.steers):
        return Arm("vote", None, kind, seed)
    return Arm(ONE, None, kind, seed, alphas[0])
