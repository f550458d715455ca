"""Bare tensors: [width] for one block, [blocks, width], or a table of blocks; in .pt, .npy and .safetensors."""

from __future__ import annotations

from typing import Any

import numpy as np

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.text import quoted
from lm_eval_steer.vectors.foreign.answers import Answers
from lm_eval_steer.vectors.foreign.format import ForeignFormat, Said
from lm_eval_steer.vectors.foreign.rows import at_output_or_input, by_rows, number_of, numbers, one_row
from lm_eval_steer.vectors.foreign.source import Source


def recognises(source: Source) -> bool:
    """One array, or a table whose keys are numbers and whose values are arrays."""
    if source.container == "safetensors":
        return len(source.content.places) == 1
    content = source.content
    return source.container in ("torch", "numpy") and (isinstance(content, np.ndarray) or _is_table(content))


def read(source: Source, answers: Answers) -> Said:
    """One vector acts at the block that is asked for; rows of a matrix are blocks; of a table it is asked whether its
    numbers are those of outputs or of inputs."""
    content = source.content
    if source.container == "safetensors":
        names = list(content.places)
        if len(names) != 1:
            raise SteeringError(
                f"it holds {len(names)} tensors, such as {quoted(names[0] if names else '')}, expected one"
            )
        content = content[names[0]]
    if _is_table(content):
        shifts, notes = at_output_or_input(
            {number_of(block, "a block"): one_row(one, f"block {block}") for block, one in content.items()},
            answers,
            "the file numbers its vectors and does not say what it counts",
            {"output": "blocks from 0", "input": "hidden states of transformers, of which 0 is the embeddings"},
        )
        return Said(shifts, notes=notes)
    found = numbers(content, "the file")
    if found.ndim == 1 and found.size:
        layer = answers.ask(
            "layer", "it holds one vector, and does not say of which block, counted from 0, it is the output"
        )
        return Said({number_of(layer, "--layer"): found})
    return Said(by_rows(found, answers, "the file"))


def _is_table(content: Any) -> bool:
    if not isinstance(content, dict) or not content:
        return False
    return all(type(key) is int and isinstance(one, np.ndarray) for key, one in content.items())


TENSORS = ForeignFormat(
    "a bare tensor [width] or [blocks, width], or a table of blocks (.pt, .npy, .safetensors)", read, recognises
)
