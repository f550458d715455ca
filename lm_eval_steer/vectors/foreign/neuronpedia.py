"""Neuronpedia: JSON with a vector and the name of the hook that it acts at."""

from __future__ import annotations

import re
from typing import Any

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.text import quoted
from lm_eval_steer.vectors.foreign.answers import Answers
from lm_eval_steer.vectors.foreign.format import ForeignFormat, Said
from lm_eval_steer.vectors.foreign.rows import one_row, scalars
from lm_eval_steer.vectors.foreign.source import Source

_HOOK = re.compile(r"blocks\.(\d{1,4})\.hook_resid_(pre|post)")


def block_of_hook(name: Any) -> int:
    """The block at whose output a hook of TransformerLens is.

    Raises:
        SteeringError: for a hook elsewhere.
    """
    found = _HOOK.fullmatch(name) if isinstance(name, str) else None
    block = int(found[1]) - (found[2] == "pre") if found else -1
    if block < 0:
        raise SteeringError(
            f"it acts at {quoted(name)}, expected blocks.N.hook_resid_post, or hook_resid_pre of N from 1"
        )
    return block


def recognises(source: Source) -> bool:
    """It has a hookName, and a modelId or a vector."""
    content = source.content
    return source.container == "json" and isinstance(content, dict) and {"modelId", "hookName"} <= content.keys()


def read(source: Source, answers: Answers) -> Said:
    """The vector at its hook. Of an SAE's feature it has to be said which of its two vectors it is."""
    content = source.content
    value = content.get("vector") or content.get("values")
    if value is None:
        raise SteeringError("it names a feature and holds no vector: import the row of its SAE's W_dec (--from sae)")
    method = answers.ask(
        "method",
        "Neuronpedia steers with rows of W_dec and gives columns of W_enc under the same name, and the file does not "
        "say "
        "which it is, W_dec, W_enc or another method",
    )
    note = "Its strength is 4 times as large on Neuronpedia, and relative to a length that the file does not say."
    block = block_of_hook(content["hookName"])
    return Said({block: one_row(value, "its vector")}, str(method), says=scalars(content), notes=(note,))


NEURONPEDIA = ForeignFormat("a vector of Neuronpedia (.json)", read, recognises)
