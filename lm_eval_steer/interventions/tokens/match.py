"""`match:`: positions whose token is one of some, `match:[198,271]`, or completes a text, `match:"\\n\\n"`.

A text stands in double quotes, as in JSON. Of a text that takes several tokens the one is meant that completes it.
Another rule before it says among which positions: `generated:match:"\\n\\n"` (SEAL steers so).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.tokens.automaton import Automaton, of_ids, of_text
from lm_eval_steer.interventions.tokens.vocabulary import vocabulary_of

KIND = "match:"
LONGEST = 64
"""Bytes of a text that is looked for."""


@dataclass(frozen=True)
class Match:
    """What the tokens of steered positions have in common.

    Attributes:
        ids: they are one of these; none where a text is looked for.
        text: it ends within each of them.
        tokenizer: gives the tokenizer that says what tokens stand for; None where nobody knows.
    """

    ids: tuple[int, ...] = ()
    text: str = ""
    tokenizer: Callable[[], Any] | None = field(default=None, compare=False)

    @property
    def spelt(self) -> str:
        """The one spelling of it."""
        return KIND + (json.dumps(self.text) if self.text else json.dumps(list(self.ids), separators=(",", ":")))

    @cached_property
    def automaton(self) -> Automaton:
        """What finds them.

        Raises:
            SteeringError: for a text where no tokenizer is known, or one whose tokens cannot be read as texts.
        """
        if self.ids:
            return of_ids(self.ids)
        if self.tokenizer is None:
            raise SteeringError(
                f"tokens={self.spelt} is a text, and there is no tokenizer here that says which tokens make it: give "
                "token ids, as in match:[198,271]"
            )
        tokenizer = self.tokenizer()
        try:
            vocabulary = vocabulary_of(tokenizer)
            spelt = tokenizer.encode(self.text, add_special_tokens=False)
            whole = b"".join(vocabulary[token] for token in spelt)
        except (AttributeError, TypeError, ValueError, LookupError):
            whole = b""
        if self.text.encode() not in whole:
            raise SteeringError(
                f"tokens={self.spelt} is a text that the tokenizer {type(tokenizer).__name__} does not write as it "
                "stands: give token ids, as in match:[198,271]"
            )
        return of_text(self.text.encode(), vocabulary)


def read_match(said: str) -> Match | None:
    """What stands behind `match:`; None where it is neither token ids nor a text in quotes."""
    try:
        value = json.loads(said, strict=False)
        text = value.encode() if isinstance(value, str) else b""
    except (ValueError, RecursionError):
        return None
    if isinstance(value, str):
        return Match(text=value) if 0 < len(text) <= LONGEST else None
    ids = value if isinstance(value, list) else [value]
    if not ids or not all(type(one) is int and 0 <= one < 2**31 for one in ids):
        return None
    return Match(ids=tuple(sorted(set(ids))))
