"""What a sweep lets compete: its vectors, and the controls that take the place of the first of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lm_eval_steer.compare.arms import ROLES, VECTOR, Arm
from lm_eval_steer.compare.sweep_file import WORD
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.controls import Control, read_control
from lm_eval_steer.text import quoted


@dataclass(frozen=True)
class Contender:
    """A vector or a control: it has a search of its own on the validation rows, and arms of its own.

    Attributes:
        vector: name that --arms gives the vector; None for a sweep's only one, and for controls.
        control: what takes the place of the vector; None for a vector.
        file: of the vector, where --arms names it; else --model_args does.
    """

    vector: str | None = None
    control: Control | None = None
    file: str | None = None

    @property
    def name(self) -> str:
        """As sweep.json has it: `vector`, the name of --arms, `random:1`, ..."""
        return self.arm("best").contender

    @property
    def is_searched(self) -> bool:
        """Whether it has strengths to choose from."""
        return self.control is None or self.control.steers

    @property
    def arguments(self) -> dict[str, Any]:
        """What a run of it has in model_args beside its strength and what all of the sweep have."""
        given = {} if self.file is None else {"vectors": self.file}
        return given | ({} if self.control is None else {"control": self.control.name})

    def arm(self, role: str) -> Arm:
        """Its arm in a role."""
        kind, seed = (None, None) if self.control is None else (self.control.kind, self.control.seed)
        return Arm(role, self.vector, kind, seed)


def find_contenders(arms: Mapping[str, str], controls: tuple[Control, ...]) -> Iterator[Contender]:
    """The vectors, or the only one where no arms are given, and behind them the controls of the first."""
    vectors = [Contender(name, file=file) for name, file in arms.items()] or [Contender()]
    yield from vectors
    yield from (Contender(control=control, file=vectors[0].file) for control in controls)


def read_arms(given: Any) -> dict[str, str]:
    """Read --arms: name -> vector file, as text `own=v.pt,mapped=w.pt`, as a mapping, or None.

    Raises:
        SteeringError: for text without names, a name twice, one that is no word, and one that means something else.
    """
    form = "give each vector a name of letters, digits, - and _, as in --arms own=v.safetensors,mapped=w.safetensors"
    if given is None:
        return {}
    if isinstance(given, str):
        pairs = [tuple(part.strip() for part in pair.split("=", 1)) for pair in given.split(",")]
    elif isinstance(given, Mapping):
        pairs = [(name, file) for name, file in given.items()]
    else:
        raise SteeringError(f"--arms {quoted(given)} is not understood: {form}")
    arms: dict[str, str] = {}
    for pair in pairs:
        if len(pair) < 2 or not all(isinstance(part, str) and part for part in pair):
            raise SteeringError(f"--arms {quoted(given)} is not name=file throughout: {form}")
        name, file = pair
        if not WORD.fullmatch(name):
            raise SteeringError(f"--arms calls a vector {quoted(name)}, which is no word: {form}")
        if _is_taken(name):
            raise SteeringError(f"--arms calls a vector {name}, which is what a sweep calls another thing: rename it")
        if name in arms:
            raise SteeringError(f"--arms names {name} twice, {arms[name]} and {file}: name every vector once")
        arms[name] = file
    if not arms:
        raise SteeringError(f"--arms names no vector: {form}")
    return arms


def _is_taken(name: str) -> bool:
    """Whether sweep.json and tables call something else by a name."""
    try:
        return name in (*ROLES, VECTOR, "none") or read_control(name) is not None
    except SteeringError:
        return False
