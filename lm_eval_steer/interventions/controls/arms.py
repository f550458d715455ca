"""The controls of a sweep, one per arm."""

from __future__ import annotations

from typing import Any

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.controls.control import Control, read_entry
from lm_eval_steer.interventions.controls.kinds import KINDS
from lm_eval_steer.text import quoted

DEFAULT_SEEDS = 5
"""How many vectors of a seeded kind a sweep tries where it is not told."""

MOST_SEEDS = 1000
"""The most of them that one sweep may try."""


def read_controls(value: Any) -> tuple[Control, ...]:
    """Read a sweep's `--controls`: its control arms, in the order given.

    `all`, `none`, or a list of kinds, as a list or as text with commas. `random:3` is three arms here, those of the
    seeds 1 to 3, each the same as a single run's `control=random:1` to `control=random:3`; `random` is `random:5`.
    `all` are those that take no files.

    Raises:
        SteeringError: for anything else, an empty list, a kind that occurs twice, and more than `MOST_SEEDS` seeds.
    """
    given = f"controls={quoted(value)}"
    kinds = [f"{kind}:{DEFAULT_SEEDS}" if KINDS[kind].seeded else kind for kind in KINDS]
    forms = f"use all, none, or a list of {', '.join(kinds)}"
    if value is None or (isinstance(value, str) and value.strip() == "none"):
        return ()
    if isinstance(value, str):
        of_all = [kind for kind in KINDS if KINDS[kind].files is None]
        items = of_all if value.strip() == "all" else value.split(",") if value.strip() else []
    elif isinstance(value, list | tuple):
        items = list(value)
    else:
        raise SteeringError(f"{given} is not understood: {forms}")
    if not items:
        raise SteeringError(f"{given} holds no control: {forms}")
    arms: dict[str, list[Control]] = {}
    for item in items:
        entry = read_entry(item) if isinstance(item, str) else None
        if entry is None:
            shown = given if isinstance(value, str) and len(items) == 1 else f"{quoted(item)} in {given}"
            raise SteeringError(f"{shown} is not understood: {forms}")
        kind, number = entry
        if kind in arms:
            raise SteeringError(f"{given} holds {kind} twice: give every kind of control once")
        if not KINDS[kind].seeded:
            arms[kind] = [Control(kind)]
            continue
        seeds = DEFAULT_SEEDS if number is None else number
        if not 1 <= seeds <= MOST_SEEDS:
            raise SteeringError(
                f"{given} asks for {seeds} {kind} vectors: use 1 to {MOST_SEEDS}, as in {kind}:{DEFAULT_SEEDS}"
            )
        arms[kind] = [Control(kind, seed) for seed in range(1, seeds + 1)]
    return tuple(control for group in arms.values() for control in group)
