"""Text of others, made fit to be shown."""

from __future__ import annotations

_LONGEST = 300
"""Characters of a name in a sentence."""


def printable(text: str) -> str:
    """Text on one line, with everything escaped that could steer a terminal or cannot be encoded."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def shortened(text: object) -> str:
    """A name for a sentence, without the middle where it is very long."""
    whole, half = str(text), _LONGEST // 2
    return whole if len(whole) <= _LONGEST else f"{whole[:half]}[...]{whole[-half:]}"
