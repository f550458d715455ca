"""What several formats share: numbers as arrays, rows as blocks, sites as blocks."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.text import quoted
from lm_eval_steer.vectors.foreign.answers import Answers
from lm_eval_steer.vectors.foreign.containers.pickles import Made
from lm_eval_steer.vectors.formats.header import read_header

MOST_BLOCKS = 10_000

_BLOCK = re.compile(r"0|[1-9][0-9]{0,3}")
_OUTPUT = re.compile(r"(?:[A-Za-z_]\w*\.)*(?:layers|h|blocks)(?:\.(\d{1,4})|\[(\d{1,4})\])")
_WRITES_TO_STREAM = re.compile(r"(?:[A-Za-z_]\w*\.)*layers\.(\d{1,4})\.mlp\.down_proj")

UNNORMED = ("llama", "mistral", "qwen2", "qwen3", "phi3", "smollm3")
"""Architectures whose block adds the output of `mlp.down_proj` to the residual stream as it is, as its last step: a
constant added there is one added at the block's output. Others put a norm or a factor behind it."""


def numbers(value: Any, what: str) -> np.ndarray:
    """Float numbers as an array; lists of a JSON file, too.

    Raises:
        SteeringError: for anything else.
    """
    if isinstance(value, np.ndarray) and value.dtype.kind == "f":
        return value
    if isinstance(value, Made):
        raise SteeringError(f"{what} is a Python object of the class {value}, which is never loaded")
    if isinstance(value, list):
        try:
            found = np.array(value, dtype=np.float64)
        except (ValueError, TypeError, OverflowError):
            found = np.zeros(0)
        flat = value
        while flat and isinstance(flat[0], list):
            flat = flat[0]
        if found.size and flat and isinstance(flat[0], int | float) and not isinstance(flat[0], bool):
            return found
    raise SteeringError(f"{what} is {quoted(type(value).__name__)}, expected float numbers")


def one_row(value: Any, what: str) -> np.ndarray:
    """A vector: float [width], or [1, width], of which the row is returned.

    Raises:
        SteeringError: for other shapes.
    """
    found = numbers(value, what)
    if found.ndim == 2 and len(found) == 1:
        found = found[0]
    if found.ndim != 1 or not found.size:
        raise SteeringError(f"{what} has shape {list(found.shape)}, expected one vector [width]")
    return found


def number_of(text: Any, what: str) -> int:
    """The block that a text names, such as "7".

    Raises:
        SteeringError: for anything else.
    """
    if isinstance(text, int) and not isinstance(text, bool) and 0 <= text < MOST_BLOCKS:
        return text
    if not isinstance(text, str) or not _BLOCK.fullmatch(text):
        raise SteeringError(f"{what} is {quoted(text)}, expected the number of a block from 0 on")
    return int(text)


def by_rows(value: Any, answers: Answers, what: str, model: str | None = None) -> dict[int, np.ndarray]:
    """Rows [blocks, width], or [blocks + 1, width] as transformers counts hidden states: there row 0 is the embeddings,
    and is left out.

    Raises:
        UnansweredError: where the number of blocks is not known.
        SteeringError: where the rows are neither.
    """
    found = numbers(value, what)
    if found.ndim != 2 or not found.size:
        raise SteeringError(f"{what} has shape {list(found.shape)}, expected [blocks, width]")
    blocks = answers.blocks(f"{what} has {len(found)} rows, and that of its model's blocks is not known", model)
    if len(found) not in (blocks, blocks + 1):
        raise SteeringError(
            f"{what} has {len(found)} rows, and its model {blocks} blocks: expected a row per block, or one more for "
            "the "
            "embeddings (several concepts in one file, or some blocks only, are no vector)"
        )
    return dict(enumerate(found[len(found) - blocks :]))


def at_output_or_input(
    shifts: Mapping[int, np.ndarray], answers: Answers, why: str, meanings: Mapping[str, str]
) -> tuple[dict[int, np.ndarray], tuple[str, ...]]:
    """Directions where the user says that they act, and notes: at the `output` of their block, or at its `input`, which
    is the output of the block before.

    Args:
        shifts: block -> direction.
        answers: of the user.
        why: what the tool does, for the question.
        meanings: what `output` and `input` are, for the question.
    """
    if answers.choose("site", why, meanings) == "output":
        return dict(shifts), ()
    notes = ("The direction of block 0 acts on the embeddings, which are no block's output: left out.",)
    return {block - 1: shift for block, shift in shifts.items() if block}, notes if 0 in shifts else ()


def block_of_module(name: Any, answers: Answers, architecture: str | None = None) -> int:
    """The block at whose output a vector acts that is added to the output of a module.

    Args:
        name: of the module, such as `model.layers.7` or `model.layers.7.mlp.down_proj`.
        answers: may know the architecture.
        architecture: that the file says.

    Raises:
        SteeringError: for a module whose output is not the residual stream, nor added to it as it is.
    """
    text = name if isinstance(name, str) else ""
    if found := _OUTPUT.fullmatch(text):
        return int(found[1] or found[2])
    found = _WRITES_TO_STREAM.fullmatch(text)
    if found is None:
        raise SteeringError(
            f"it acts on the module {quoted(name)}, and a vector acts at the outputs of blocks, such as model.layers.7"
        )
    kind = answers.parent.get("architecture") or architecture
    if kind is None:
        kind = answers.ask(
            "architecture",
            f"it acts on {quoted(name)}, which is the block's output only where no norm stands behind it",
        )
    if kind not in UNNORMED:
        raise SteeringError(
            f"it acts on {quoted(name)} of the architecture {quoted(kind)}, where that is not known to be the same "
            "as at "
            f"the block's output; it is for {', '.join(UNNORMED)}"
        )
    return int(found[1])


def carried(header: Any) -> Any:
    """The passport in a header that an export of this project carries along; None where there is no such header.

    Raises:
        SteeringError: for a header that is none.
    """
    return None if header is None else read_header(header)


def scalars(values: Mapping[str, Any]) -> dict[str, Any]:
    """Of a table, the texts, numbers and switches that a passport can keep."""
    kept = {str(key)[:100]: value for key, value in values.items() if isinstance(value, str | int | float | bool)}
    return {
        key: value[:1000] if isinstance(value, str) else value
        for key, value in list(kept.items())[:200]
        if not isinstance(value, float) or np.isfinite(value)
    }
