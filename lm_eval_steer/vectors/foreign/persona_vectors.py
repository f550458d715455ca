"""Persona vectors: rows as transformers counts hidden states, the first of them of the embeddings."""

from __future__ import annotations

import re

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.vectors.foreign.answers import Answers
from lm_eval_steer.vectors.foreign.format import ForeignFormat, Said
from lm_eval_steer.vectors.foreign.rows import numbers
from lm_eval_steer.vectors.foreign.source import Source

_NAME = re.compile(r".*_(response_avg|prompt_avg|prompt_last)_diff")


def recognises(source: Source) -> bool:
    """A bare matrix whose name says which tokens were read."""
    return source.container == "torch" and _NAME.fullmatch(source.path.stem) is not None and _has_rows(source)


def read(source: Source, answers: Answers) -> Said:
    """Row k is of the output of block k-1; row 0, of the embeddings, is left out."""
    found = numbers(source.content, "the file")
    if found.ndim != 2 or len(found) < 2:
        raise SteeringError(f"the file holds a tensor of shape {list(found.shape)}, expected [blocks + 1, width]")
    tokens = _NAME.fullmatch(source.path.stem)
    says = {"tokens": tokens[1]} if tokens else {}
    notes = ("Row 0 is of the embeddings, which are no block's output: left out.",)
    return Said(dict(enumerate(found[1:])), "mean", {"num_blocks": len(found) - 1}, says, notes)


def _has_rows(source: Source) -> bool:
    return getattr(source.content, "ndim", 0) == 2


PERSONA_VECTORS = ForeignFormat("a persona vector (.pt)", read, recognises)
