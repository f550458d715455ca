"""lm-eval's own `steered` model: a table of modules, each with a vector, a coefficient and an action."""

from __future__ import annotations

from typing import Any

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.shapes import is_number
from lm_eval_steer.text import quoted
from lm_eval_steer.vectors.foreign.answers import Answers
from lm_eval_steer.vectors.foreign.format import ForeignFormat, Said
from lm_eval_steer.vectors.foreign.rows import block_of_module, one_row
from lm_eval_steer.vectors.foreign.source import Source

_VECTOR = "steering_vector"


def recognises(source: Source) -> bool:
    """A table of tables, each with a steering_vector."""
    content = source.content
    if source.container != "torch" or not isinstance(content, dict) or not content:
        return False
    return all(isinstance(one, dict) and _VECTOR in one for one in content.values())


def read(source: Source, answers: Answers) -> Said:
    """What is added at the output of each module: the vector times its coefficient."""
    shifts: dict[int, Any] = {}
    says, notes = {}, []
    for module, one in source.content.items():
        action = one.get("action", "add")
        if action != "add":
            raise SteeringError(f"it acts on {quoted(module)} by {quoted(action)}, and a vector is what is added")
        if one.get("head_index") is not None:
            raise SteeringError(
                f"it acts on head {quoted(one['head_index'])} of {quoted(module)}, not on a whole output"
            )
        factor = one.get("steering_coefficient", 1.0)
        if not is_number(factor):
            raise SteeringError(f"its steering_coefficient is {quoted(factor)}, expected a number")
        block = block_of_module(module, answers)
        if block in shifts:
            raise SteeringError(f"it holds two vectors that act at the output of block {block}")
        shifts[block] = factor * one_row(one[_VECTOR], f"the steering_vector of {module}")
        says[str(module)[:100]] = factor
        if one.get("bias") is not None:
            notes.append(f"The bias of {module} is left out: `steered` fails where action is add and there is one.")
    return Said(shifts, says={"coefficients": says}, notes=tuple(notes))


LM_EVAL_STEERED = ForeignFormat("a steering file of lm-eval's model `steered` (.pt)", read, recognises)
