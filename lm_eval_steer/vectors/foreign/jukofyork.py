"""jukofyork/control-vectors: differences of block deltas, made for strength 1, with a debias vector beside them."""

from __future__ import annotations

import os

import numpy as np

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.text import quoted
from lm_eval_steer.vectors.foreign.answers import Answers
from lm_eval_steer.vectors.foreign.control_vectors import directions, is_control_vector, layer_count, say
from lm_eval_steer.vectors.foreign.format import ForeignFormat, Said
from lm_eval_steer.vectors.foreign.source import Source

_DEBIAS = "__debias"
NONE = "none"
"""The answer that leaves a debias vector out."""


def recognises(source: Source) -> bool:
    """Its layer_count is that of the model, above the number of tensors, and its name tells the axis from the class."""
    if not is_control_vector(source):
        return False
    kind, count = layer_count(source.content)
    return kind == "u32" and count > len(source.content.tensors) and "__" in source.path.stem


def read(source: Source, answers: Answers) -> Said:
    """direction.N acts at the output of block N, together with that of the debias file."""
    shifts = directions(source.content)
    notes: tuple[str, ...] = ("The directions are of what each block adds, not of the residual stream.",)
    if not source.path.stem.endswith(_DEBIAS):
        axis = source.path.stem.partition("__")[0]
        name = answers.ask(
            "debias",
            f"this vector is made to stand on its debias vector, {axis}{_DEBIAS}.gguf: name that file, and strength "
            "1 adds "
            f"both, or say {NONE} and it adds this one alone",
        )
        if name != NONE:
            other = source.open(os.path.abspath(os.path.expanduser(str(name))))
            if not is_control_vector(other):
                raise SteeringError(f"--debias {quoted(name)} is no control vector in GGUF")
            shifts = _sum(shifts, directions(other.content))
            notes += ("The debias vector is in it, and grows with the strength, too.",)
    count = layer_count(source.content)[1]
    said = say(source.content, shifts, "difference of block deltas", notes)
    return Said(said.shifts, said.method, {**said.parent, "num_blocks": count}, said.says, said.notes)


def _sum(one: dict[int, np.ndarray], other: dict[int, np.ndarray]) -> dict[int, np.ndarray]:
    widths = {len(shift) for shift in (*one.values(), *other.values())}
    if len(widths) > 1:
        raise SteeringError(f"the vector and its debias vector are of different widths: {sorted(widths)}")
    return {
        block: np.sum([part[block] for part in (one, other) if block in part], axis=0)
        for block in sorted(one.keys() | other.keys())
    }


JUKOFYORK = ForeignFormat("a control vector of jukofyork/control-vectors (.gguf)", read, recognises)
