"""Text of others, made fit to be shown, and numbers of blocks and seeds as people write them."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Sequence
from typing import Any

LAST_SEED = 999_999_999
"""The largest seed in the name of a control, as in `random:3`."""
_LONGEST = 300
"""Characters of a name in a sentence."""
_LONGEST_VALUE = 6000
"""Characters of a value in a sentence."""


def printable(text: str) -> str:
    """Text on one line, with everything escaped that could steer a terminal or cannot be encoded."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def as_text(value: Any) -> str:
    """Text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str, ensure_ascii=False)


def shortened(text: object, longest: int = _LONGEST) -> str:
    """A name for a sentence, without the middle where it is very long."""
    whole, half = str(text), longest // 2
    return whole if len(whole) <= longest else f"{whole[:half]}[...]{whole[-half:]}"


def quoted(value: object) -> str:
    """Any value for a sentence: on one line, and without its middle where it is very long."""
    try:
        text = repr(value)
    except Exception:  # of somebody's own class, or of a whole number with thousands of digits
        text = f"a value of the type {type(value).__name__}"
    return shortened(printable(" ".join(text.split()) if "\n" in text else text), _LONGEST_VALUE)


def nearest(name: str, known: Iterable[str]) -> str:
    """What a sentence about an unknown name goes on with: the known one that it may be; nothing where none is near."""
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=0.8)
    return f" (the nearest name is {found[0]})" if found else ""


def span(blocks: Sequence[int]) -> str:
    """Numbers of blocks, ascending: `0-29`, or `1, 4, 7` where they have gaps."""
    if len(blocks) > 1 and list(blocks) == list(range(blocks[0], blocks[-1] + 1)):
        return f"{blocks[0]}-{blocks[-1]}"
    return ", ".join(map(str, blocks))
