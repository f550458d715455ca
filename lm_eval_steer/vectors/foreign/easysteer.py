"""EasySteer: a control vector that says its method; raw or of length 1, whatever its `normalize` says."""

from __future__ import annotations

from lm_eval_steer.vectors.foreign.answers import Answers
from lm_eval_steer.vectors.foreign.control_vectors import directions, is_control_vector, say
from lm_eval_steer.vectors.foreign.format import ForeignFormat, Said
from lm_eval_steer.vectors.foreign.source import Source

_METHOD = "controlvector.method"


def recognises(source: Source) -> bool:
    """Its header has a method."""
    return is_control_vector(source) and _METHOD in source.content.values


def read(source: Source, answers: Answers) -> Said:
    """direction.N acts at the output of block N, from block 0 on."""
    method = source.content.values[_METHOD]
    return say(source.content, directions(source.content), method if isinstance(method, str) else None)


EASYSTEER = ForeignFormat("a control vector of EasySteer (.gguf)", read, recognises)
