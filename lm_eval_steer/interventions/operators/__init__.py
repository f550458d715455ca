"""Operators: what happens to a block's output, one file each; pure functions of activations, strengths, directions."""

from __future__ import annotations

from lm_eval_steer.interventions.operators.add import ADD, add
from lm_eval_steer.interventions.operators.add_keep_norm import ADD_KEEP_NORM, add_keep_norm
from lm_eval_steer.interventions.operators.operator import Operator
from lm_eval_steer.table import Table

__all__ = ["OPERATORS", "Operator", "add", "add_keep_norm"]

OPERATORS: Table[Operator] = Table("operator", {"add": ADD, "add_keep_norm": ADD_KEEP_NORM})
