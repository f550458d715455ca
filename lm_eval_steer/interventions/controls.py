"""Controls: what a steering vector has to beat, each an arm with the same search and the same test as the vector.

    random:N          another direction of the same length in every block, drawn with seed N
    shuffled          the vector's own directions, each in a wrong block
    negated           the opposite directions
    identity          no steering, at another batch size
    self-consistency  no steering, sampled at `CONTROL_TEMPERATURE`, with the vector's vote

Everything here happens in the child's space, after layer map and width map.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.text import quoted

KINDS = ("random", "shuffled", "negated", "identity", "self-consistency")
UNSTEERED = ("identity", "self-consistency")
CONTROL_TEMPERATURE = 0.7
"""Sampling temperature of self-consistency."""

DEFAULT_SEEDS = 5
"""How many random vectors a sweep tries where it is not told."""

MOST_SEEDS = 1000
"""The most random vectors that one sweep may try."""

LAST_SEED = 999_999_999

SHUFFLE_SEED = 1
"""There is one `shuffled` control per set of blocks, so its derangement has a fixed seed."""


@dataclass(frozen=True)
class Control:
    """One control, checked.

    Attributes:
        kind: one of `KINDS`.
        seed: 1 to `LAST_SEED` for `random`, None for the others.
    """

    kind: str
    seed: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise SteeringError(f"there is no control {self.kind!r}: use one of {', '.join(KINDS)}")
        if self.kind != "random":
            if self.seed is not None:
                raise SteeringError(
                    f"the control {self.kind} has the seed {quoted(self.seed)}, but only random takes one"
                )
        elif isinstance(self.seed, bool) or not isinstance(self.seed, int) or not 1 <= self.seed <= LAST_SEED:
            raise SteeringError(
                f"the control random has the seed {quoted(self.seed)}: use a whole number from 1 to {LAST_SEED}"
            )

    @property
    def name(self) -> str:
        """The arm's name, which `read_control` reads back: `random:3`, `negated`."""
        return self.kind if self.seed is None else f"{self.kind}:{self.seed}"

    @property
    def steers(self) -> bool:
        """False for the controls whose alpha is 0."""
        return self.kind not in UNSTEERED

    @property
    def temperature(self) -> float | None:
        """At which it draws its texts; None where it draws none."""
        return CONTROL_TEMPERATURE if self.kind == "self-consistency" else None

    @property
    def regroups(self) -> bool:
        """Whether requests are put into other batches than usual."""
        return self.kind == "identity"

    @property
    def is_plain(self) -> bool:
        """Whether the model answers as it does by itself: once, whatever strengths are given."""
        return not self.steers and self.temperature is None


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
        if entry := _read_entry(value):
            kind, number = entry
            if kind != "random":
                return Control(kind)
            seed = 1 if number is None else number
            if not 1 <= seed <= LAST_SEED:
                raise SteeringError(f"{given} has the seed {seed}: use a seed from 1 to {LAST_SEED}, as in random:3")
            return Control(kind, seed)
    raise SteeringError(
        f"{given} is not understood: use none, random:3 (the random vector of seed 3) or one of {', '.join(KINDS[1:])}"
    )


def read_controls(value: Any) -> tuple[Control, ...]:
    """Read a sweep's `--controls`: its control arms, in the order given.

    `all`, `none`, or a list of kinds, as a list or as text with commas. `random:3` is three arms here, those of the
    seeds 1 to 3, each the same as a single run's `control=random:1` to `control=random:3`; `random` is `random:5`.

    Raises:
        SteeringError: for anything else, an empty list, a kind that occurs twice, and more than `MOST_SEEDS` seeds.
    """
    given = f"controls={quoted(value)}"
    forms = f"use all, none, or a list of {', '.join((f'random:{DEFAULT_SEEDS}', *KINDS[1:]))}"
    if value is None or (isinstance(value, str) and value.strip() == "none"):
        return ()
    if isinstance(value, str):
        items = list(KINDS) if value.strip() == "all" else value.split(",") if value.strip() else []
    elif isinstance(value, list | tuple):
        items = list(value)
    else:
        raise SteeringError(f"{given} is not understood: {forms}")
    if not items:
        raise SteeringError(f"{given} holds no control: {forms}")
    arms: dict[str, list[Control]] = {}
    for item in items:
        entry = _read_entry(item) if isinstance(item, str) else None
        if entry is None:
            shown = given if isinstance(value, str) and len(items) == 1 else f"{quoted(item)} in {given}"
            raise SteeringError(f"{shown} is not understood: {forms}")
        kind, number = entry
        if kind in arms:
            raise SteeringError(f"{given} holds {kind} twice: give every kind of control once")
        if kind != "random":
            arms[kind] = [Control(kind)]
            continue
        seeds = DEFAULT_SEEDS if number is None else number
        if not 1 <= seeds <= MOST_SEEDS:
            raise SteeringError(
                f"{given} asks for {seeds} random vectors: use 1 to {MOST_SEEDS}, as in random:{DEFAULT_SEEDS}"
            )
        arms[kind] = [Control(kind, seed) for seed in range(1, seeds + 1)]
    return tuple(control for group in arms.values() for control in group)


def apply_control(control: Control, directions: Mapping[int, np.ndarray]) -> dict[int, np.ndarray]:
    """What `control` adds to the child in place of `directions`; every block keeps the length of its shift.

    `random` draws uniformly from the sphere of the child's width, one stream per (seed, block): a block's direction is
    the same whichever other blocks are steered. `shuffled` gives no block its own direction. A direction of zeros
    stays where it is. `identity` and `self-consistency` change nothing here: the caller sets their alpha to 0.

    Args:
        control: which.
        directions: child block -> float32 [child hidden]. Not changed, but kinds that change nothing share its arrays.

    Returns:
        The same blocks in the same order -> float32 [child hidden], norms equal up to rounding to float32.

    Raises:
        SteeringError: for `shuffled` with fewer than two blocks to permute.
    """
    if control.kind == "random":
        assert control.seed is not None  # checked by Control
        return {block: _draw(direction, control.seed, block) for block, direction in directions.items()}
    if control.kind == "shuffled":
        return _shuffle(directions)
    if control.kind == "negated":
        return {block: -direction for block, direction in directions.items()}
    return dict(directions)


def derangement(n: int, seed: int) -> list[int]:
    """A permutation of range(n) that moves every index, each such permutation equally likely; n is 2 or more."""
    rng = np.random.default_rng(seed)
    while True:  # one try in e has no fixed point
        order = rng.permutation(n)
        if not (order == np.arange(n)).any():
            return [int(index) for index in order]


def _read_entry(text: str) -> tuple[str, int | None] | None:
    """Kind and number of `random:3` or `negated`; None for what is neither. The number is not checked."""
    text = text.strip()
    if text in KINDS:
        return text, None
    match = re.fullmatch(r"random:([0-9]{1,18})", text)
    return ("random", int(match[1])) if match else None


def _norm(direction: np.ndarray) -> float:
    return float(np.linalg.norm(direction.astype(np.float64)))


def _draw(direction: np.ndarray, seed: int, block: int) -> np.ndarray:
    """A random direction of the shape and the length of `direction`."""
    # A normal draw divided by its length is uniform on the sphere. A spawn key keeps (seed, 0) apart from plain seed.
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(block,)))
    drawn = rng.standard_normal(direction.shape)
    return (drawn * (_norm(direction) / np.linalg.norm(drawn))).astype(np.float32)


def _shuffle(directions: Mapping[int, np.ndarray]) -> dict[int, np.ndarray]:
    """Every block gets another block's direction, brought to the length of its own."""
    norms = {block: _norm(direction) for block, direction in directions.items()}
    blocks = sorted(block for block in directions if norms[block])
    if len(blocks) < 2:
        raise SteeringError(
            f"control=shuffled permutes directions among blocks, but the number of blocks that are steered is "
            f"{len(blocks)}: steer 2 or more (layers=all), or use another control"
        )
    shuffled = dict(directions)
    for block, place in zip(blocks, derangement(len(blocks), SHUFFLE_SEED), strict=True):
        source = blocks[place]
        shuffled[block] = (directions[source].astype(np.float64) * (norms[block] / norms[source])).astype(np.float32)
    return shuffled
