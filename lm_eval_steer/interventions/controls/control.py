"""One control, and how a single run names it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.controls.kind import Files
from lm_eval_steer.interventions.controls.kinds import KINDS
from lm_eval_steer.sites import DEFAULT, Place, split
from lm_eval_steer.text import LAST_SEED, quoted


@dataclass(frozen=True)
class Control:
    """One control, checked.

    Attributes:
        kind: a name in `KINDS`.
        seed: 1 to `LAST_SEED` for a seeded kind, None for the others.
    """

    kind: str
    seed: int | None = None

    def __post_init__(self) -> None:
        if not KINDS[self.kind].seeded:
            if self.seed is not None:
                raise SteeringError(
                    f"the control {self.kind} has the seed {quoted(self.seed)}, but only {', '.join(seeded_kinds())} "
                    "take one"
                )
        elif isinstance(self.seed, bool) or not isinstance(self.seed, int) or not 1 <= self.seed <= LAST_SEED:
            raise SteeringError(
                f"the control {self.kind} has the seed {quoted(self.seed)}: use a whole number from 1 to {LAST_SEED}"
            )

    @property
    def name(self) -> str:
        """The arm's name, which `read_control` reads back: `random:3`, `negated`."""
        return self.kind if self.seed is None else f"{self.kind}:{self.seed}"

    @property
    def steers(self) -> bool:
        """False for the controls whose alpha is 0."""
        return KINDS[self.kind].steers

    @property
    def temperature(self) -> float | None:
        """At which it draws its texts; None where it draws none."""
        return KINDS[self.kind].temperature

    @property
    def regroups(self) -> bool:
        """Whether requests are put into other batches than usual."""
        return KINDS[self.kind].regroups

    @property
    def is_of_each(self) -> bool:
        """Whether each vector of a sweep has its own."""
        return KINDS[self.kind].is_of_each

    @property
    def is_opposite(self) -> bool:
        """Whether it is the vector turned round."""
        return KINDS[self.kind].opposite

    @property
    def files(self) -> Files | None:
        """Where its directions lie; None where they are a change of the vector's."""
        return KINDS[self.kind].files

    def file_beside(self, vector: str) -> str:
        """The path of its file, beside that of a vector: `own.map-shuffled-1.safetensors`."""
        stem, dot, suffix = vector.rpartition(".")
        return f"{stem}.{self.kind}-{self.seed}{dot}{suffix}"

    @property
    def is_plain(self) -> bool:
        """Whether the model answers as it does by itself: once, whatever strengths are given."""
        return KINDS[self.kind].is_plain

    def apply(self, directions: Mapping[Place, np.ndarray]) -> dict[Place, np.ndarray]:
        """What is added to the child in place of `directions`, site by site; every place keeps the length of its shift.

        Args:
            directions: in the child's space. Not changed, but a kind that steers nothing shares its arrays.

        Returns:
            The same places in the same order -> float32 of the same shape, lengths equal up to rounding to float32.

        Raises:
            SteeringError: for directions that cannot be changed in this way, and for a control that lies in a file.
        """
        if self.files is not None:
            raise self.is_a_file()
        change = KINDS[self.kind].change
        if change is None:
            return dict(directions)
        by_site: dict[str, dict[int, np.ndarray]] = {} if directions else {DEFAULT: {}}
        for place, direction in directions.items():
            site, block = split(place)
            rows = direction.reshape(-1, direction.shape[-1])  # of each head, or the only one
            by_site.setdefault(site, {}).update({block * len(rows) + row: one for row, one in enumerate(rows)})
        changed = {site: change(rows, seed_at(self.seed, site)) for site, rows in by_site.items()}
        found = {}
        for place, direction in directions.items():
            site, block = split(place)
            count = direction.size // direction.shape[-1]
            heads = [changed[site][block * count + head] for head in range(count)]
            found[place] = np.stack(heads).reshape(direction.shape)
        return found

    def is_a_file(self) -> SteeringError:
        """What to say where a control that lies in a file is asked of the vector itself."""
        return SteeringError(
            f"control={self.name} is a vector file of its own, no change of another vector: name it, as in "
            f"vectors={self.file_beside('NAME.safetensors')}"
        )


def seed_at(seed: int | None, site: str) -> int | None:
    """The seed of a site: of a block's output that of the control, of every other one made of it, so that no two
    sites are given the same directions."""
    if seed is None or site == DEFAULT:
        return seed
    return int.from_bytes(hashlib.sha256(f"{seed} {site}".encode()).digest()[:8], "big")


def read_control(value: Any) -> Control | None:
    """Read the model argument `control`; None stands for the vector itself.

    `none`, `random:3` (the random vector of seed 3; `random` is `random:1`), or another kind by its name.

    Raises:
        SteeringError: for anything else.
    """
    if value is None:
        return None
    given = f"control={quoted(value)}"
    if isinstance(value, str):
        if value.strip() == "none":
            return None
        if entry := read_entry(value):
            kind, number = entry
            if not KINDS[kind].seeded:
                return Control(kind)
            seed = 1 if number is None else number
            if not 1 <= seed <= LAST_SEED:
                raise SteeringError(f"{given} has the seed {seed}: use a seed from 1 to {LAST_SEED}, as in {kind}:3")
            return Control(kind, seed)
    seeded = [f"{kind}:3 (the {kind} vector of seed 3)" for kind in seeded_kinds() if KINDS[kind].files is None]
    others = [kind for kind in KINDS if not KINDS[kind].seeded]
    raise SteeringError(f"{given} is not understood: use none, {', '.join(seeded)} or one of {', '.join(others)}")


def control_in(passport: Any) -> Control | None:
    """The control that a vector file is, by its passport; None for a vector that is none, and for what is no passport.

    Raises:
        SteeringError: for a seed that there is not.
    """
    if not isinstance(passport, Mapping):
        return None
    for kind in KINDS:
        files = KINDS[kind].files
        if files is not None and (seed := files.seed(passport)) is not None:
            return Control(kind, seed)
    return None


def read_entry(text: str) -> tuple[str, int | None] | None:
    """Kind and number of `random:3` or `negated`; None for what is neither. The number is not checked."""
    kind, colon, number = text.strip().partition(":")
    if kind not in KINDS or (colon and not KINDS[kind].seeded):
        return None
    if not colon:
        return kind, None
    return (kind, int(number)) if re.fullmatch(r"[0-9]{1,18}", number) else None


def seeded_kinds() -> list[str]:
    """The kinds of which there are many."""
    return [kind for kind in KINDS if KINDS[kind].seeded]
