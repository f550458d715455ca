"""What a token rule is: where the steered positions of a request begin and end, and which tokens they have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lm_eval_steer.interventions.tokens.match import Match


@dataclass(frozen=True)
class TokenRule:
    """Steered positions of a request, counted from the end of its prompt (or of the context of a continuation).

    Attributes:
        begin: the first of them; 0 is the position behind the prompt, -1 the last one of the prompt, None the first of
            the text.
        end: the first one behind them that is not steered; None where only the text's own end is.
        match: what the tokens of those have to be that are steered; None where all are. No token behind a position
            decides on it, so that a beginning that texts share is steered alike in all of them.
    """

    begin: int | None
    end: int | None
    match: Match | None = None

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
        inside = (self.begin is not None and self.begin > -1) or (self.end is not None and self.end > 0)
        return inside or self.match is not None

    @property
    def needs_prompt(self) -> bool:
        """Whether it has no meaning for a text without a prompt (loglikelihood_rolling)."""
        return (self.begin, self.end) != (None, None)

    def interval(self, prompt: int) -> tuple[int, int | None]:
        """Begin and end in positions of the text, for a prompt of so many tokens; an end of None is the text's."""
        begin = 0 if self.begin is None else max(0, prompt + self.begin)
        return begin, None if self.end is None else max(begin, prompt + self.end)

    def count(self, prompt: int, run: int, tokens: Sequence[int]) -> int:
        """How many positions of a request are steered.

        Args:
            prompt: tokens of its prompt.
            run: how many positions are run, the first ones.
            tokens: ids of the request, those that are run at least.
        """
        begin, end = self.interval(prompt)
        stop = run if end is None else min(run, end)
        if self.match is not None:
            return int(self.match.automaton.hits(tokens[:run])[begin : max(begin, stop)].sum())
        return max(0, stop - begin)

    def chosen(self, position: Tensor, prompt: Tensor) -> Tensor:
        """The interval as a mask, whatever the tokens are.

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
