"""A vector from any file that can be one: of this project, or of another tool where it leaves nothing open."""

from __future__ import annotations

import shlex
from collections.abc import Container
from dataclasses import replace
from pathlib import Path

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.sites import DEFAULT, SITES
from lm_eval_steer.text import printable, shortened
from lm_eval_steer.vectors.foreign import UnansweredError, import_vector, open_source
from lm_eval_steer.vectors.foreign.refused import is_own
from lm_eval_steer.vectors.formats import suffixes
from lm_eval_steer.vectors.hub import origin
from lm_eval_steer.vectors.several import AnyVector, together
from lm_eval_steer.vectors.vector import SteeringVector, read_sites


def load_vector(path: Path) -> AnyVector:
    """Read a vector file of this project, of one site or several, or one of another tool; the passport of one from the
    Hub says so (`hub`).

    Raises:
        SteeringError: as `read_sites` and `import_vector`; for a file of another tool that leaves something
            open, with the command that says it.
    """
    vectors, found = _load(path), origin(path)
    if found is not None:
        vectors = tuple(replace(one, passport=one.passport | {"hub": found}) for one in vectors)
    return together(vectors)


def load_one(path: Path, doing: str, sites: Container[str] = (DEFAULT,)) -> SteeringVector:
    """As `load_vector`, for what works on the directions of one site.

    Args:
        path: of the file.
        doing: what takes them, for the sentence.
        sites: those that it takes.

    Raises:
        SteeringError: as `load_vector`; for a file of several sites, or of another one.
    """
    vector = load_vector(path)
    if isinstance(vector, SteeringVector) and vector.site in sites:
        return vector
    taken = [site for site in SITES if site in sites]
    raise SteeringError(
        f"{shortened(path)} holds directions of {', '.join(vector.sites)}, and {doing} takes those of one site alone: "
        f"{' or '.join(taken)}"
    )


def _load(path: Path) -> tuple[SteeringVector, ...]:
    if path.suffix in suffixes() and not _is_of_another_tool(path):
        return read_sites(path)
    try:
        return (import_vector(path),)
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
