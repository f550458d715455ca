"""Windows: `first:N`, `after:N` and `last:-N`, positions that are counted from the end of the prompt.

| tokens    | positions                                                                               |
|-----------|-----------------------------------------------------------------------------------------|
| first:N   | those that predict the first N tokens of the response, or of the continuation           |
| after:N   | those that predict what follows the first N tokens                                      |
| last:-N   | the Nth position of the prompt from its end, once                                       |
"""

from __future__ import annotations

import re
from collections.abc import Callable

from lm_eval_steer.interventions.tokens.rule import TokenRule

LARGEST = 1_000_000
"""The largest number of a window."""

_KINDS: dict[str, Callable[[int], TokenRule]] = {
    "first": lambda count: TokenRule(begin=-1, end=count - 1),
    "after": lambda count: TokenRule(begin=count - 1, end=None),
    "last": lambda place: TokenRule(begin=place, end=place + 1),
}
_SAME = {"first:1": "last", "after:0": "generated", "last:-1": "last"}
"""Windows that have another name already."""


def window_name(name: str) -> str | None:
    """The one spelling of a window, or the name of the rule that it is; None for what is no window."""
    match = re.fullmatch(r"(first|after):([0-9]{1,7})|(last):-([0-9]{1,7})", name.strip())
    if match is None:
        return None
    kind, number = match[1] or match[3], int(match[2] or match[4])
    if number > LARGEST or (number == 0 and kind != "after"):
        return None
    spelt = f"{kind}:{'-' if kind == 'last' else ''}{number}"
    return _SAME.get(spelt, spelt)


def window(name: str) -> TokenRule | None:
    """The rule of a window in its one spelling; None for what is none."""
    kind, colon, number = name.partition(":")
    return _KINDS[kind](int(number)) if colon and window_name(name) == name else None
