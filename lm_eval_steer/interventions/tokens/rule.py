"""What a token rule is: where the steered positions of a request begin and end."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class TokenRule:
    """Steered positions of a request, counted from the end of its prompt (or of the context of a continuation).

    Attributes:
        begin: the first of them; 0 is the position behind the prompt, -1 the last one of the prompt, None the first of
            the text.
        end: the first one behind them that is not steered; None where only the text's own end is.
    """

    begin: int | None
    end: int | None

    @property
    def steers_beginnings(self) -> bool:
        """Whether it steers positions that two prompts with a common beginning share.

        Each prompt keeps `own` tokens at least behind that beginning.
        """
        return self.begin is None

    @property
    def own(self) -> int:
        """How many tokens at the end of its prompt a request shares with no other: those that are steered because they
        are there, and the last one."""
        return 1 if self.begin is None else max(1, -self.begin)

    @property
    def parts_responses(self) -> bool:
        """Whether it steers some of the positions that predict a response, and others not."""
        return (self.begin is not None and self.begin > -1) or (self.end is not None and self.end > 0)

    @property
    def needs_prompt(self) -> bool:
        """Whether it has no meaning for a text without a prompt (loglikelihood_rolling)."""
        return (self.begin, self.end) != (None, None)

    def interval(self, prompt: int) -> tuple[int, int | None]:
        """Begin and end in positions of the text, for a prompt of so many tokens; an end of None is the text's."""
        begin = 0 if self.begin is None else max(0, prompt + self.begin)
        return begin, None if self.end is None else max(begin, prompt + self.end)

    def count(self, prompt: int, run: int) -> int:
        """How many positions of a request are steered, of which the first `run` are run."""
        begin, end = self.interval(prompt)
        return max(0, (run if end is None else min(run, end)) - begin)

    def chosen(self, position: Tensor, prompt: Tensor) -> Tensor:
        """The interval as a mask.

        Args:
            position: of the text [positions].
            prompt: how many tokens the prompt of each row has [rows, 1].

        Returns:
            bool [rows, positions].
        """
        chosen = torch.ones_like(position, dtype=torch.bool).expand(len(prompt), -1)
        if self.begin is not None:
            chosen = chosen & (position >= prompt + self.begin)
        return chosen if self.end is None else chosen & (position < prompt + self.end)
