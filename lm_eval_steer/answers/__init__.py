"""Response text to answer, None for no answer: one function per dataset.

What a task scores with is what a vote counts with, so both call this package. Equal answers are equal strings, except
those of `math_answer`, which `math_equal` compares.
"""

from lm_eval_steer.answers._equality import math_equal, math_unfinished
from lm_eval_steer.answers._math import math_answer
from lm_eval_steer.answers._numbers import arith_answer, canonical, gsm8k_answer
from lm_eval_steer.answers._options import arc_answer
from lm_eval_steer.answers._text import NO_ANSWER, boxes
from lm_eval_steer.answers._thoughts import opened_thought, visible
from lm_eval_steer.answers._working import reasons

__all__ = [
    "NO_ANSWER",
    "arc_answer",
    "arith_answer",
    "boxes",
    "canonical",
    "gsm8k_answer",
    "math_answer",
    "math_equal",
    "math_unfinished",
    "opened_thought",
    "reasons",
    "visible",
]
