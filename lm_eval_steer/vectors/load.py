"""A vector from any file that can be one: of this project, or of another tool where it leaves nothing open."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.text import printable
from lm_eval_steer.vectors.foreign import UnansweredError, import_vector, open_source
from lm_eval_steer.vectors.foreign.refused import is_own
from lm_eval_steer.vectors.formats import suffixes
from lm_eval_steer.vectors.hub import origin
from lm_eval_steer.vectors.vector import SteeringVector


def load_vector(path: Path) -> SteeringVector:
    """Read a vector file of this project, or one of another tool; the passport of one from the Hub says so (`hub`).

    Raises:
        SteeringError: as `SteeringVector.load` and `import_vector`; for a file of another tool that leaves something
            open, with the command that says it.
    """
    vector, found = _load(path), origin(path)
    return vector if found is None else replace(vector, passport=vector.passport | {"hub": found})


def _load(path: Path) -> SteeringVector:
    if path.suffix in suffixes() and not _is_of_another_tool(path):
        return SteeringVector.load(path)
    try:
        return import_vector(path)
    except UnansweredError as error:
        out = shlex.quote(f"{path.stem}.imported.safetensors")
        command = f"lm-eval-steer vectors import {shlex.quote(str(path))} {error.argument} ... --out {out}"
        raise SteeringError(f"{error}, in: {printable(command)}") from None


def _is_of_another_tool(path: Path) -> bool:
    """Whether a file that could be of this project by its suffix is whole, and without this project's header."""
    if path.suffix not in (".safetensors", ".pt"):
        return False
    try:
        return not is_own(open_source(path))
    except SteeringError:
        return False
