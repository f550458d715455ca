"""Operators: what happens to a block's output, one file each; pure functions of activations, strengths, directions."""

from __future__ import annotations

from lm_eval_steer.interventions.operators.ablate import ABLATE
from lm_eval_steer.interventions.operators.add import ADD
from lm_eval_steer.interventions.operators.add_keep_norm import ADD_KEEP_NORM
from lm_eval_steer.interventions.operators.icv import ICV
from lm_eval_steer.interventions.operators.low_rank import LOW_RANK
from lm_eval_steer.interventions.operators.operator import OF_THE_FILE, WORDS, Operator
from lm_eval_steer.interventions.operators.rotate import ROTATE, ROTATE_TO
from lm_eval_steer.interventions.operators.set import SET, SET_AT_LEAST, SET_AT_MOST
from lm_eval_steer.interventions.operators.swap import SWAP
from lm_eval_steer.interventions.operators.turn import SLERP, TURN
from lm_eval_steer.table import Table

__all__ = ["OF_THE_FILE", "OPERATORS", "WORDS", "Operator"]

OPERATORS: Table[Operator] = Table(
    "operator",
    {
        "add": ADD,
        "add_keep_norm": ADD_KEEP_NORM,
        "icv": ICV,
        "ablate": ABLATE,
        "set": SET,
        "set_at_least": SET_AT_LEAST,
        "set_at_most": SET_AT_MOST,
        "turn": TURN,
        "slerp": SLERP,
        "rotate": ROTATE,
        "rotate_to": ROTATE_TO,
        "swap": SWAP,
        "low_rank": LOW_RANK,
    },
)
