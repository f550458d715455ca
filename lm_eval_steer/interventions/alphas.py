"""Sets of strengths: what the `alpha` argument may look like, and the order in which a vote sees its values."""

from __future__ import annotations

import re
import sys
from fractions import Fraction
from itertools import pairwise
from typing import Any

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.profiles import check_profile
from lm_eval_steer.text import quoted

PAPER = (*(i / 100 for i in range(1, 10)), *(i / 10 for i in range(1, 10)))
"""The paper's set: 0.01 to 0.09 and 0.1 to 0.9, 18 values; 0 is no member."""

NAMES = {"paper": PAPER}

MOST = 1000
"""The most values that a range may have."""

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_FORMS = f"use 0.04, [0.04,0.5], 0.01:0.09:0.01 or {', '.join(NAMES)}"


def read_alphas(value: Any, argument: str = "alpha") -> tuple[float, ...]:
    """Read a set of strengths, in the order of `alpha_order`.

    A number (`0.04`), a list (`[0.04,0.5]`), a range with both ends (`0.01:0.09:0.01`, upwards) or a name (`paper`).
    Numbers, lists and ranges may be text. A range's values are those that its decimals say: 0.07, not 0.01 + 6 * 0.01
    in floating point. -0.0 is 0.0.

    Args:
        value: the argument, as the harness's command line or a caller hands it over.
        argument: its name, for the sentences.

    Raises:
        SteeringError: for anything else, a value that occurs twice, an empty list, and a range that goes downwards,
            misses its own end or has more than `MOST` values.
    """
    if value is None:
        raise SteeringError(
            f"{argument} is missing: say how long the shift is, as in {argument}=0.04, or {argument}=0 for none"
        )
    given = f"{argument}={quoted(value)}"
    items = _read_text(value.strip(), given) if isinstance(value, str) else value
    if isinstance(items, list | tuple):
        several = f"is not a number: use numbers, as in {argument}=[0.04,0.5]"
        alphas = [_read_number(item, f"{quoted(item)} in {given}", several, argument) for item in items]
    else:
        alphas = [_read_number(items, given, f"is not understood: {_FORMS}", argument)]
    if not alphas:
        raise SteeringError(f"{given} holds no value: {_FORMS}")
    ordered = sorted(alphas, key=alpha_order)
    for one, other in pairwise(ordered):
        if one == other:
            raise SteeringError(f"{given} holds {alpha_name(one)} twice: give every strength once, each has one vote")
    return tuple(ordered)


def read_strengths(alpha: Any, dose: Any, alpha_per_layer: Any) -> tuple[float, ...]:
    """The set of strengths that three arguments say together; with `alpha_per_layer` alone it is 1.

    Raises:
        SteeringError: as `read_alphas` and `check_profile`, and for two sets.
    """
    if dose is not None and alpha is not None:
        raise SteeringError(f"alpha={quoted(alpha)} and dose={quoted(dose)} are two strengths: give one of them")
    if alpha_per_layer is not None:
        check_profile(alpha_per_layer)
    if dose is not None:
        return read_alphas(dose, "dose")
    if alpha is None and alpha_per_layer is not None:
        return (1.0,)
    return read_alphas(alpha)


def alpha_order(alpha: float) -> tuple[float, bool]:
    """Sort key of a set: by |alpha|, positive before negative."""
    return abs(alpha), alpha < 0


def alpha_name(alpha: float) -> str:
    """The shortest text that reads back as the same number: `0.04`, `-1`, `0`."""
    return repr(float(alpha) + 0.0).removesuffix(".0")


def _read_number(item: Any, shown: str, otherwise: str, argument: str) -> float:
    """One finite float. `shown` begins the sentence of an error, `otherwise` ends it for what is no number."""
    if isinstance(item, bool) or not isinstance(item, int | float):
        raise SteeringError(f"{shown} {otherwise}")
    if not -sys.float_info.max <= item <= sys.float_info.max:  # NaN and integers of any size, too
        raise SteeringError(f"{shown} is not a finite number: use a strength such as {argument}=0.04")
    return float(item) + 0.0  # -0.0 + 0.0 is 0.0


def _read_text(text: str, given: str) -> Any:
    """What a text stands for: a number or a list; text where it stands for nothing."""
    if text in NAMES:
        return NAMES[text]
    if text.startswith("["):
        if not text.endswith("]"):
            raise SteeringError(
                f"{given} was cut at a comma: model_args given as one string to simple_evaluate cannot hold a "
                "list; pass model_args as a dict"
            )
        inside = text[1:-1].strip()
        return [_number_or_text(part.strip()) for part in inside.split(",")] if inside else []
    if ":" in text:
        return _read_range(text, given)
    return _number_or_text(text)


def _number_or_text(text: str) -> float | str:
    return float(text) if _NUMBER.fullmatch(text) else text


def _read_range(text: str, given: str) -> list[float]:
    """The values of `first:last:step`, in exact arithmetic on the decimals."""
    parts = [_number_or_text(part.strip()) for part in text.split(":")]
    numbers = [part for part in parts if isinstance(part, float) and abs(part) <= sys.float_info.max]
    if len(parts) != 3 or len(numbers) != 3:
        raise SteeringError(f"{given} is not understood: a range is first:last:step, as in 0.01:0.09:0.01")
    first, last, step = (Fraction(repr(number)) for number in numbers)
    start, end, stride = map(alpha_name, numbers)
    if step <= 0:
        raise SteeringError(f"{given} has the step {stride}: use a step above 0, as in 0.01:0.09:0.01")
    if first > last:
        raise SteeringError(f"{given} goes down from {start} to {end}: write {end}:{start}:{stride}")
    steps = (last - first) // step
    if steps >= MOST:
        raise SteeringError(f"{given} has more than {MOST} values: use a larger step than {stride}")
    values = [float(first + i * step) for i in range(steps + 1)]
    if first + steps * step != last:
        ends = alpha_name(values[-1])
        raise SteeringError(
            f"{given} takes no step to its end {end}: write {start}:{ends}:{stride} for the values before it"
        )
    return values
