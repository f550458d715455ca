"""Strengths by block: what the `alpha_per_layer` argument may look like.

A profile has one multiplier per block of the child, block 0 first: block l is shifted by alpha * profile[l] * v[l].
So with `alpha_per_layer`, `alpha` multiplies it and is 1 where it is not given. For a child of L blocks:

    [m0,m1,...]        the multipliers themselves, L of them
    linear:a:b         a + (b - a) * l / (L - 1), from a in the first block to b in the last; a where L is 1
    peak:center:width  exp(-((l - center) / width)^2 / 2), center and width in blocks

Multipliers may be negative or 0, but not all 0: alpha=0 says that.
"""

from __future__ import annotations

import math
import sys
from fractions import Fraction
from typing import Any

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.text import quoted

_SHAPES = {
    "linear": ("the first and the last block's multiplier", "linear:0:1"),
    "peak": ("center and width, in blocks", "peak:14:4"),
}
_FORMS = "use [0.5,1,0.5] with one number per block, linear:0:1 or peak:14:4"


def check_profile(value: Any) -> None:
    """Refuse what no model could use, before a model is loaded.

    Raises:
        SteeringError: for what is not understood, not a finite number, of another number of parts, a width that is not
            above 0, and multipliers that are all zero in any model.
    """
    _read(value)


def read_profile(value: Any, blocks: int) -> tuple[float, ...]:
    """Read the `alpha_per_layer` argument for a child of `blocks` blocks.

    The values of `linear` are those that its decimals say: 0.3, not 0.1 + 0.2 in floating point.

    Args:
        value: a list of numbers, or text: `[0.5,1,0.5]`, `linear:0:1`, `peak:14:4` (module docstring).
        blocks: number of blocks of the child, all of them, not only the steered ones.

    Returns:
        [blocks] multipliers of alpha, without a unit.

    Raises:
        SteeringError: for what `check_profile` refuses, a list of another length, and multipliers that are all zero in
            this model.
    """
    shape, numbers = _read(value)
    if shape == "linear":
        first, last = (Fraction(repr(number)) for number in numbers)
        steps = max(blocks - 1, 1)
        profile = tuple(float(first + (last - first) * block / steps) for block in range(blocks))
    elif shape == "peak":
        center, width = numbers
        profile = tuple(_gauss((block - center) / width) for block in range(blocks))
    else:
        profile = numbers
        if len(profile) != blocks:
            raise SteeringError(
                f"alpha_per_layer has {len(profile)} number{'s'[: len(profile) > 1]}, but the model has {blocks} "
                f"block{'s'[: blocks > 1]}: give one number per block, or a shape such as linear:0:1"
            )
    if not any(profile):
        raise SteeringError(
            f"alpha_per_layer={quoted(value)} is zero in all of the model's {blocks} blocks: use a profile that is "
            "not, or alpha=0 for no steering"
        )
    return profile


def _gauss(distance: float) -> float:
    """exp(-distance²/2); 0 where it is too small for a float. (`distance**2` would raise where the product is inf.)"""
    return math.exp(-distance * distance / 2)


def _read(value: Any) -> tuple[str, tuple[float, ...]]:
    """(`list`, multipliers) or (name of a shape, its two numbers), checked as far as that goes without a model."""
    given = f"alpha_per_layer={quoted(value)}"
    text = value.strip() if isinstance(value, str) else ""
    shape, *parts = (part.strip() for part in text.split(":"))
    if shape in _SHAPES:
        numbers = _read_shape(shape, parts, given)
    else:
        shape = "list"
        items = _read_list(text, given) if text else value
        if not isinstance(items, list | tuple):
            raise SteeringError(f"{given} is not understood: {_FORMS}")
        if not items:
            raise SteeringError(f"{given} holds no number: {_FORMS}")
        numbers = tuple(_read_number(item, given) for item in items)
    if shape != "peak" and not any(numbers):
        raise SteeringError(f"{given} is zero in every block: use a profile that is not, or alpha=0 for no steering")
    return shape, numbers


def _read_shape(shape: str, parts: list[str], given: str) -> tuple[float, ...]:
    """The two numbers of `linear` or `peak`."""
    meaning, example = _SHAPES[shape]
    if len(parts) != 2:
        raise SteeringError(
            f"{given} has {len(parts)} part{'s'[: len(parts) != 1]} after {shape}: give 2, {meaning}, as in {example}"
        )
    numbers = tuple(_read_number(part, given) for part in parts)
    if shape == "peak" and numbers[1] <= 0:
        raise SteeringError(f"{given} has the width {numbers[1]:g}: use a width above 0, in blocks, as in {example}")
    return numbers


def _read_list(text: str, given: str) -> list[str] | None:
    """The items of `[0.5,1]`; None for text that is no list."""
    if not text.startswith("["):
        return None
    if not text.endswith("]"):
        raise SteeringError(
            f"{given} was cut at a comma: model_args given as one string to simple_evaluate cannot hold a list; "
            "pass model_args as a dict"
        )
    inside = text[1:-1].strip()
    return [part.strip() for part in inside.split(",")] if inside else []


def _read_number(item: Any, given: str) -> float:
    """One finite float, from a number or its text."""
    number = item
    if isinstance(item, str):
        try:
            number = float(item)
        except ValueError:
            number = None
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise SteeringError(f"{quoted(item)} in {given} is not a number: {_FORMS}")
    if not -sys.float_info.max <= number <= sys.float_info.max:  # NaN and integers of any size, too
        raise SteeringError(f"{quoted(item)} in {given} is not a finite number: use multipliers such as 0.5")
    return float(number) + 0.0  # -0.0 + 0.0 is 0.0
