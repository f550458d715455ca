"""How a vector is meant to act: arguments that the concept of a task declares, and the vector's passport keeps."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from lm_eval_steer.interventions.arguments import ARGUMENTS
from lm_eval_steer.shapes import is_number

ACTING = tuple(
    one.name
    for one in ARGUMENTS
    if one.changes == "response" and not one.shared and one.name not in ("vectors", "second", "control")
)
"""Arguments that say how a vector acts, whatever the child and the task are."""

_WORD = re.compile(r"[\w.:+-]+", re.ASCII)


def meant(said: Any) -> dict[str, str]:
    """Arguments of a steered model as `--model_args` takes them.

    Args:
        said: what stands under `steering`, for instance `{"tokens": "last", "dose": 0.1}`. A value is a number, a list
            of numbers, a switch or a word, so that no value brings another argument along.

    Returns:
        Argument to text, in the order of the plan; nothing where anything else stands there, since a part of it would
        act otherwise.
    """
    if not isinstance(said, Mapping) or not set(said) <= set(ACTING):
        return {}
    told = {name: _told(said[name]) for name in ACTING if name in said}
    return {} if None in told.values() else {name: str(text) for name, text in told.items()}


def _told(value: Any) -> str | None:
    if isinstance(value, list) and value and all(map(is_number, value)):
        return f"[{','.join(map(str, value))}]"
    if isinstance(value, bool) or is_number(value) or (isinstance(value, str) and _WORD.fullmatch(value)):
        return str(value)
    return None
