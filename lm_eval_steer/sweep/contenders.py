"""What a sweep lets compete: its vectors, the controls of each, and those that stand for all of them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lm_eval_steer.compare.arms import ROLES, VECTOR, Arm
from lm_eval_steer.compare.sites import ALL, site_name
from lm_eval_steer.compare.sweep_file import WORD
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.files import is_file
from lm_eval_steer.interventions.controls import Control, control_in, read_control
from lm_eval_steer.sweep.others import WORDS
from lm_eval_steer.text import quoted
from lm_eval_steer.vectors.catalog import find_vector
from lm_eval_steer.vectors.hub import bring_beside
from lm_eval_steer.vectors.load import load_vector
from lm_eval_steer.vectors.several import AnyVector


@dataclass(frozen=True)
class Contender:
    """A vector or a control: it has a search of its own on the validation rows, and arms of its own.

    Attributes:
        vector: name that --arms gives the vector, or that of which it is a control; None for a sweep's only one and its
            controls, and for controls that stand for all vectors.
        control: what takes the place of the vector; None for a vector.
        file: what `vectors` names in its place; None where --model_args do.
        path: of its file; None for a control that is a change of a vector, and without any file.
        loaded: what lies there.
        layer: the only block that is steered, of a sweep of one site at a time; None for all that `layers` names.
    """

    vector: str | None = None
    control: Control | None = None
    file: str | None = None
    path: Path | None = field(default=None, compare=False)
    loaded: AnyVector | None = field(default=None, compare=False)
    layer: int | None = None

    @property
    def name(self) -> str:
        """As sweep.json has it: `vector`, the name of --arms, `random:1`, `own negated`, ..."""
        return self.arm("best").contender

    @property
    def is_searched(self) -> bool:
        """Whether it has strengths to choose from."""
        return self.control is None or self.control.steers

    @property
    def is_read(self) -> bool:
        """Whether it comes from a vector file, and is no change of another contender."""
        return self.control is None or self.control.files is not None

    @property
    def arguments(self) -> dict[str, Any]:
        """What a run of it has in model_args beside its strength and what all of the sweep have."""
        given: dict[str, Any] = {} if self.file is None else {"vectors": self.file}
        given |= {} if self.layer is None else {"layers": self.layer}
        return given | ({} if self.is_read or self.control is None else {"control": self.control.name})

    def arm(self, role: str) -> Arm:
        """Its arm in a role."""
        kind, seed = (None, None) if self.control is None else (self.control.kind, self.control.seed)
        return Arm(role, self.vector, kind, seed)


def find_contenders(
    arms: Mapping[str, str], only: Any, controls: tuple[Control, ...], sites: Sequence[int] = ()
) -> tuple[Contender, ...]:
    """The vectors, each with its own controls behind it, then the controls that stand for all of them.

    Of one site at a time, the vector at each block counts as one, and has all controls that steer for itself: those of
    another block are no controls of it.

    A file whose passport says that it is a control is one of the vector that has the same origin (of `map-shuffled`
    parents, maps, texts and seed); where there is no such vector, it stands behind all of them under its own name.

    Args:
        arms: name -> vector file.
        only: `vectors` of --model_args, where no arms are given.
        controls: of --controls.
        sites: blocks at each of which the only vector steers alone, too; none for no such sweep.

    Raises:
        SteeringError: for files that cannot be read, controls that no vector of the sweep can have, files of controls
            that are missing or of another vector, and names that cannot be told apart.
    """
    files = [_read(name, file) for name, file in arms.items()] or [_read(None, only)]
    if sites:
        files = list(_one_at_a_time(files[0], sites))
    vectors, given = ([one for one in files if (one.control is None) == is_vector] for is_vector in (True, False))
    found: list[Contender] = []
    for vector in vectors:
        found.append(vector)
        found += [
            Contender(vector.vector, one.control, one.file, one.path, one.loaded, vector.layer)
            for one in given
            if _is_of(one, vector)
        ]
        found += [_control_of(vector, control) for control in controls if _can_have(vector, control, bool(sites))]
    found += [one for one in given if not any(_is_of(one, vector) for vector in vectors)]
    for control in controls:
        if not _is_of_each(control, bool(sites)):
            found.append(Contender(None, control, found[0].file))
        elif not any(_can_have(vector, control, bool(sites)) for vector in vectors):
            needed = control.files.takes if control.files else "a vector that is no control itself"
            raise SteeringError(
                f"--controls asks for {control.name}, which takes {needed}, and the sweep has none: leave "
                f"{control.kind} out, or name such a vector"
            )
    return tuple(_told_apart(found))


def _read(name: str | None, file: Any) -> Contender:
    """A vector, or the control that its passport says it is."""
    named = None if name is None else file
    if not isinstance(file, str) or not file:
        return Contender(name, file=named)  # as in a single run, what names no file is refused with the plan
    path = find_vector(os.path.expanduser(file))
    loaded = load_vector(path)
    return Contender(name, control_in(loaded.passport), named, path, loaded)


def _one_at_a_time(vector: Contender, sites: Sequence[int]) -> Iterator[Contender]:
    """The vector at all its blocks, and at each of them alone."""
    yield replace(vector, vector=ALL)
    for block in sites:
        yield replace(vector, vector=site_name(block, max(sites)), layer=block)


def _is_of(one: Contender, vector: Contender) -> bool:
    """Whether a control that lies in a file is one of a vector."""
    if one.control is None or one.control.files is None or one.loaded is None or vector.loaded is None:
        return False
    origin = one.control.files.origin
    found = origin(one.loaded.passport)
    return found is not None and found == origin(vector.loaded.passport)


def _is_of_each(control: Control, alone: bool) -> bool:
    """Whether each vector has its own of a kind; those at one block `alone` share none that steers."""
    return control.is_of_each or (alone and control.steers)


def _can_have(vector: Contender, control: Control, alone: bool) -> bool:
    """Whether there is a control of a kind of this vector itself."""
    if control.files is None:
        return _is_of_each(control, alone)
    return vector.loaded is not None and control.files.origin(vector.loaded.passport) is not None


def _control_of(vector: Contender, control: Control) -> Contender:
    """A control of a vector, with its file where it lies in one.

    Raises:
        SteeringError: for a file that is missing, and for one that is no such control of this vector.
    """
    if control.files is None or vector.path is None or vector.loaded is None:
        return Contender(vector.vector, control, vector.file, layer=vector.layer)
    path = Path(control.file_beside(str(vector.path)))
    command = control.files.command(vector.loaded.passport, control.seed or 0, str(path))
    advice = f"make it with: {command} (VECTOR: what was carried)"
    name = Contender(vector.vector, control).name
    bring_beside(path)
    if not is_file(path):
        raise SteeringError(f"the control {name} is the vector file {path}, and there is none: {advice}")
    found = Contender(vector.vector, control, str(path), path, load_vector(path), vector.layer)
    assert found.loaded
    if control_in(found.loaded.passport) != control or not _is_of(found, vector):
        raise SteeringError(f"{path} is not the control {name}, by its passport, but another vector: {advice}")
    return found


def _told_apart(found: Iterable[Contender]) -> Iterator[Contender]:
    """Contenders without those that are there twice, as a file that --arms names beside --controls.

    Raises:
        SteeringError: for two that would have one name, or one folder.
    """
    places: dict[str, Contender] = {}
    for one in found:
        other = places.setdefault(one.arm("best").folder, one)
        if other is one:
            yield one
        elif other.name != one.name:
            named = one if one.control is None else other
            raise SteeringError(
                f"--arms calls a vector {named.vector}, and {other.name} and {one.name} would lie in one folder: "
                "rename the vector"
            )
        elif other.loaded is None or one.loaded is None or other.loaded.fingerprint != one.loaded.fingerprint:
            raise SteeringError(f"{other.path} and {one.path} are both {one.name}: leave one of them out")


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
        return name in (*ROLES, *WORDS, VECTOR, "none") or read_control(name) is not None
    except SteeringError:
        return False
