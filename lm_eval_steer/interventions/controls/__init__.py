"""Controls: what a steering vector has to beat, each an arm with the same search and the same test as the vector.

A kind of control is a file here and an entry of `KINDS`. Directions are changed in the child's space, after layer map
and width map; those of `map-shuffled` lie in vector files.

    random:N          another direction of the same length in every block, drawn with seed N
    map-shuffled:N    the parent's vector, carried by a map that was fitted on texts paired at random with seed N
    shuffled          the vector's own directions, each in a wrong block
    negated           the opposite directions
    identity          no steering, at another batch size
    self-consistency  no steering, sampled, with the vector's vote
"""

from __future__ import annotations

from lm_eval_steer.interventions.controls.arms import read_controls
from lm_eval_steer.interventions.controls.control import Control, control_in, read_control
from lm_eval_steer.interventions.controls.kind import Files, Kind
from lm_eval_steer.interventions.controls.kinds import KINDS, kind_of

__all__ = ["KINDS", "Control", "Files", "Kind", "control_in", "kind_of", "read_control", "read_controls"]
