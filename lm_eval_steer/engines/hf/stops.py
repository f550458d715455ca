"""What ends a text beside its end tokens: strings, looked for as `hf` looks for them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from lm_eval.models.huggingface import HFLM
from torch import Tensor
from transformers.generation import StoppingCriteria, StopStringCriteria


class Stops:
    """Says whether a text has ended.

    Args:
        lm: the harness's model.
        words: strings that end a text. Special tokens have theirs, too, though no response shows them.
        kept: criterion of `stop_strings`, which end a text and stay in it; None for none.

    Attributes:
        words: the strings.
    """

    def __init__(self, lm: HFLM, words: Sequence[str], kept: StopStringCriteria | None) -> None:
        self._lm, self.words, self._kept = lm, list(words), kept
        # The harness (MultiTokenEOSCriteria) looks at so many of the last tokens: a word may be spelt otherwise.
        self._reach = {word: len(lm.tok_encode(word, add_special_tokens=False)) + 2 for word in words}
        # Near strengths write the same, and on a GPU to decode is slow beside a pass.
        self._ends_with = lru_cache(maxsize=2**16)(self._find)

    def __call__(self, prompt: list[int], tokens: list[int]) -> bool:
        """Whether a text ends with the last of its new tokens."""
        if self._ends_with(tuple(tokens[-max(self._reach.values(), default=1) :])):
            return True
        if self._kept is None:
            return False
        return bool(self._kept(torch.tensor([prompt + tokens]), None).any())

    def _find(self, tail: tuple[int, ...]) -> bool:
        return any(
            word in self._lm.tok_decode(list(tail[-reach:]), skip_special_tokens=False)
            for word, reach in self._reach.items()
        )


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
