"""Which tokens of a text complete what is looked for: tables that know no tokenizer any more, and travel to workers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True, eq=False)
class Automaton:
    """Reads a text token by token, and says of each whether what is looked for ends within it.

    A state is how many bytes of it the text ends with. Whatever came before, the last `lookback` tokens decide it.

    Attributes:
        follows: state behind a token, uint8 [states, tokens + 1]; the last column is of what is no token.
        hit: whether it ends within the token, bool [states, tokens + 1].
    """

    follows: np.ndarray
    hit: np.ndarray

    @property
    def lookback(self) -> int:
        """How many tokens before a token decide on it, with the token itself."""
        return len(self.follows) - 1

    @cached_property
    def _nothing(self) -> int:
        return self.hit.shape[1] - 1

    def hits(self, tokens: Sequence[int] | np.ndarray) -> np.ndarray:
        """Whether it ends within each token of a text, bool [tokens].

        Args:
            tokens: ids from the beginning of the text; of a part, the first `lookback` are not judged right.
        """
        ids = np.asarray(tokens, dtype=np.int64)
        ids = np.where((ids >= 0) & (ids < self._nothing), ids, self._nothing)
        state = np.zeros(len(ids), dtype=np.int64)
        for back in range(min(self.lookback, len(ids) - 1), 0, -1):
            before = np.full(len(ids), self._nothing)
            before[back:] = ids[:-back]
            state = self.follows[state, before].astype(np.int64)
        return self.hit[state, ids]

    def last_hits(self, tokens: Sequence[int] | np.ndarray, count: int) -> np.ndarray:
        """The same of the last `count` tokens of a text, bool [count]."""
        if not count:
            return np.zeros(0, dtype=bool)
        return self.hits(tokens[-(count + self.lookback) :])[-count:]


def of_ids(ids: Sequence[int]) -> Automaton:
    """Looks for any of some tokens."""
    hit = np.zeros((1, max(ids) + 2), dtype=bool)
    hit[0, list(ids)] = True
    return Automaton(np.zeros(hit.shape, dtype=np.uint8), hit)


def of_text(text: bytes, vocabulary: Sequence[bytes]) -> Automaton:
    """Looks for a text, within a token or across several.

    Args:
        text: of 1 to 255 bytes.
        vocabulary: the bytes of each token; a token without any breaks the text off.
    """
    length = len(text)
    hit = np.zeros((length, len(vocabulary) + 1), dtype=bool)
    follows = np.zeros(hit.shape, dtype=np.uint8)
    begun, ends = tuple(text[:size] for size in range(1, length)), tuple(text[size:] for size in range(length))
    for token, its in enumerate(vocabulary):
        # Most tokens neither hold the text, nor begin it, nor go on with it.
        if not its or not (text in its or its.endswith(begun) or its in text or its.startswith(ends)):
            continue
        for state in range(length):
            read = text[:state] + its
            hit[state, token] = text in read
            follows[state, token] = next((n for n in range(length - 1, 0, -1) if read.endswith(text[:n])), 0)
    return Automaton(follows, hit)
