"""UNLOCK: a bare matrix with a row per block, which looks as any other and so is told by the user alone."""

from __future__ import annotations

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.vectors.foreign.answers import Answers
from lm_eval_steer.vectors.foreign.format import ForeignFormat, Said
from lm_eval_steer.vectors.foreign.rows import numbers
from lm_eval_steer.vectors.foreign.source import Source


def read(source: Source, answers: Answers) -> Said:
    """Row N acts at the output of block N."""
    found = numbers(source.content, "the file")
    if found.ndim != 2 or not found.size:
        raise SteeringError(f"the file holds a tensor of shape {list(found.shape)}, expected [blocks, width]")
    method = answers.choose(
        "method", "the file does not say how UNLOCK made it", {"mean": "raw", "pca": "of unit length"}
    )
    sign = 1.0
    if method == "pca":
        choices = {"+": "as it stands", "-": "turned round"}
        sign = 1.0 if answers.choose("sign", "the sign of UNLOCK's pca is arbitrary", choices) == "+" else -1.0
    return Said({block: sign * row for block, row in enumerate(found)}, method, {"num_blocks": len(found)})


UNLOCK = ForeignFormat("a vector of UNLOCK (.pth)", read)
