"""What ends a text beside its end tokens: strings, looked for as `hf` looks for them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from transformers.generation import StoppingCriteria, StopStringCriteria


class Stops:
    """Says whether a text has ended.

    Args:
        tokenizer: of the model.
        words: strings that end a text. Special tokens have theirs, too, though no response shows them.
        kept: criterion of `stop_strings`, which end a text and stay in it; None for none.

    """

    def __init__(self, tokenizer: Any, words: Sequence[str], kept: StopStringCriteria | None) -> None:
        self._tokenizer, self._kept = tokenizer, kept
        # The harness (MultiTokenEOSCriteria) looks at so many of the last tokens: a word may be spelt otherwise.
        self._reaches: dict[int, list[str]] = {}
        for word in words:
            reach = len(tokenizer.encode(word, add_special_tokens=False)) + 2
            self._reaches.setdefault(reach, []).append(word)
        self._longest = max(self._reaches, default=1)
        # Near strengths write the same, and on a GPU to decode is slow beside a pass.
        self._ends_with = lru_cache(maxsize=2**16)(self._find)

    def __call__(self, prompt: list[int], tokens: list[int]) -> bool:
        """Whether a text ends with the last of its new tokens."""
        if self.has_word(tokens):
            return True
        if self._kept is None:
            return False
        return bool(self._kept(torch.tensor([prompt + tokens]), None).any())

    def has_word(self, tokens: list[int]) -> bool:
        """Whether one of the strings is in the last of a text's new tokens."""
        return self._ends_with(tuple(tokens[-self._longest :]))

    def _find(self, tail: tuple[int, ...]) -> bool:
        for reach, words in self._reaches.items():
            text = self._tokenizer.decode(list(tail[-reach:]), skip_special_tokens=False)
            if any(word in text for word in words):
                return True
        return False


class StopBest(StoppingCriteria):
    """Ends all rows of transformers' own loop as soon as the first has a string, as `hf` does for one request.

    Args:
        stops: says when.
        width: positions before the new tokens.
    """

    def __init__(self, stops: Stops, width: int) -> None:
        self._stops, self._width, self._ended = stops, width, False

    def __call__(self, input_ids: Tensor, scores: object, **more: object) -> Tensor:
        self._ended = self._ended or self._stops.has_word(input_ids[0, self._width :].tolist())
        return torch.full((len(input_ids),), self._ended, device=input_ids.device)


class StopRows(StoppingCriteria):
    """Ends the rows of transformers' own loop one by one.

    Args:
        stops: says which.
        prompts: token ids of each row.
        width: positions of the padded prompts.

    Attributes:
        written: of each row that was ended, how many tokens it wrote.
    """

    def __init__(self, stops: Stops, prompts: Sequence[list[int]], width: int) -> None:
        self._stops, self._prompts, self._width = stops, prompts, width
        self.written: dict[int, int] = {}

    def __call__(self, input_ids: Tensor, scores: object, **more: object) -> Tensor:
        for row, tokens in enumerate(input_ids[:, self._width :].tolist()):
            if row not in self.written and self._stops(self._prompts[row], tokens):
                self.written[row] = len(tokens)
        return torch.tensor([row in self.written for row in range(len(input_ids))], device=input_ids.device)
