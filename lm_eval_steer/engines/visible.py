"""Where a text is cut whose visible part, behind a thought, has a limit of its own (`protocol.Visible`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lm_eval_steer.engines.protocol import Visible


class Cut:
    """Follows one text as it is written.

    Args:
        tokenizer: of the model.
        limit: of the visible part; None for none.
    """

    def __init__(self, tokenizer: Any, limit: Visible | None) -> None:
        self._tokenizer, self._limit, self._seen = tokenizer, limit, 0
        self._start = 0 if limit is not None and limit.begun else None

    def __call__(self, tokens: Sequence[int]) -> int | None:
        """How many of the new tokens are the text; None as long as the limit is not reached.

        Args:
            tokens: all new tokens so far, those of the last call at their beginning.
        """
        limit = self._limit
        if limit is None:
            return None
        while self._seen < len(tokens):
            self._seen += 1
            if self._ends_thought(tokens[: self._seen]):
                self._start = self._seen
            elif self._start is not None and self._seen - self._start == limit.new_tokens:
                return self._seen
        return None

    def _ends_thought(self, tokens: Sequence[int]) -> bool:
        """Whether a thought is over with the last of these tokens."""
        assert self._limit is not None
        end = self._limit.behind
        if isinstance(end, int):
            return tokens[-1] == end
        first = max(self._start or 0, len(tokens) - len(end.encode()))  # spelt in a token per byte at most
        return end in self._tokenizer.decode(list(tokens[first:]), skip_special_tokens=True)
