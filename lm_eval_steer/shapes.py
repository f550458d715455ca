"""What JSON of others must look like: a file is checked once, where it is read, and whoever works with it need not."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lm_eval_steer.text import shortened


@dataclass(frozen=True)
class Kind:
    """A value of one kind.

    Attributes:
        name: what a sentence calls it.
        test: whether a value is one.
    """

    name: str
    test: Callable[[Any], bool]


@dataclass(frozen=True)
class Each:
    """A list; `least` is how many items it must have."""

    of: Shape
    least: int = 0


@dataclass(frozen=True)
class Table:
    """An object with any keys of a kind; `least` is how many it must have."""

    of: Shape
    keys: Kind | None = None
    least: int = 0


@dataclass(frozen=True)
class Parts:
    """An object with parts of a name: those that must be there, and others that may be missing or null."""

    needed: Mapping[str, Shape] = field(default_factory=dict)
    others: Mapping[str, Shape] = field(default_factory=dict)


@dataclass(frozen=True)
class Either:
    """A value of the first shape where it is a list, else of the second."""

    lists: Each
    other: Shape


_DIGITS = re.compile(r"\d{1,9}", re.ASCII)

Shape = Kind | Each | Table | Parts | Either


def is_number(value: Any) -> bool:
    """Whether a value is a number that a finite float holds."""
    is_real = isinstance(value, int | float) and not isinstance(value, bool)
    return is_real and -sys.float_info.max <= value <= sys.float_info.max


def _is_from_0(value: Any) -> bool:
    """Whether a value is a number, and none so large that sums of it are no numbers any more."""
    return is_number(value) and 0 <= value <= 1e15


def _is_said_number(value: Any) -> bool:
    try:
        return isinstance(value, str) and math.isfinite(float(value))
    except ValueError:
        return False


ANY = Kind("anything", lambda _: True)
TEXT = Kind("text", lambda value: isinstance(value, str))
OBJECT = Kind("an object", lambda value: isinstance(value, dict))
YES_OR_NO = Kind("true or false", lambda value: isinstance(value, bool))
NUMBER = Kind("a finite number", is_number)
COUNT = Kind("a whole number from 0 on", lambda value: isinstance(value, int) and _is_from_0(value))
SECONDS = Kind("seconds", lambda value: _is_from_0(value))
SAID_NUMBER = Kind("a number", _is_said_number)
"""A number as the key of an object, which is text in JSON."""
SAID_COUNT = Kind("a whole number", lambda value: isinstance(value, str) and bool(_DIGITS.fullmatch(value)))


def check(value: Any, shape: Shape, name: str) -> None:
    """Check a value with all its parts.

    Args:
        value: of parsed JSON.
        shape: that it must have.
        name: of the value, for the sentence.

    Raises:
        ValueError: names the first part of another shape, what it is, and what was expected.
    """
    if isinstance(shape, Either):
        check(value, shape.lists if isinstance(value, list) else shape.other, name)
    elif isinstance(shape, Kind):
        _need(shape.test(value), value, shape.name, name)
    elif isinstance(shape, Each):
        _need(isinstance(value, list) and len(value) >= shape.least, value, _several("a list", shape.least), name)
        for place, item in enumerate(value):
            check(item, shape.of, f"{name}[{place}]")
    elif isinstance(shape, Table):
        _need(isinstance(value, dict) and len(value) >= shape.least, value, _several("an object", shape.least), name)
        for key, item in value.items():
            if shape.keys:
                _need(shape.keys.test(key), key, shape.keys.name, f"a key of {name}")
            check(item, shape.of, f"{name}.{key}")
    else:
        _need(isinstance(value, dict), value, "an object", name)
        for key, of in shape.needed.items():
            _need(key in value, value, f"an object with {key}", name)
            check(value[key], of, f"{name}.{key}")
        for key, of in shape.others.items():
            if value.get(key) is not None:
                check(value[key], of, f"{name}.{key}")


def _need(good: bool, value: Any, expected: str, name: str) -> None:
    if not good:
        raise ValueError(f"{shortened(name)} is {repr(value)[:60]}, expected {expected}")


def _several(what: str, least: int) -> str:
    return f"{what} that is not empty" if least else what
