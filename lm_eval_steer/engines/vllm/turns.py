"""What happens to the tokens of a pass at one place: each operator changes the tokens that are under it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from lm_eval_steer.interventions.operators import Operator
from lm_eval_steer.interventions.units import share_of_norm, size_of


class Tokens:
    """Which intervention each token of a pass is under; what is asked of that at every block is found out once.

    Args:
        index: 1 + number of the intervention of each token, 0 where nothing is steered [tokens].
        whose: the same where this process's memory has it, which may name an intervention for a token that it leaves
            as it is [tokens]; None to read `index`.

    Attributes:
        index: the same.
        exact: whether those that are found are all steered, since `index` is in this process's memory.
    """

    def __init__(self, index: Tensor, whose: np.ndarray | None = None) -> None:
        self.index, self.exact = index, whose is None or index.device.type == "cpu"
        self._whose = None if self.exact else whose
        self._places: dict[frozenset[int], Tensor | None] = {}
        self._masks: dict[frozenset[int], Tensor] = {}

    def of(self, numbers: frozenset[int]) -> Tensor | None:
        """Places of the tokens that are under one of some interventions [their tokens]; None where all are."""
        if numbers not in self._places:
            its = self._under(numbers)
            found = torch.from_numpy(its.nonzero()[0]).to(self.index.device, non_blocking=True)
            self._places[numbers] = None if len(found) == len(its) else found
        return self._places[numbers]

    def mask(self, numbers: frozenset[int]) -> Tensor:
        """Which tokens are, bool [tokens, 1]."""
        if numbers not in self._masks:
            its = torch.from_numpy(self._under(numbers)[:, None])
            self._masks[numbers] = its.to(self.index.device, non_blocking=True)
        return self._masks[numbers]

    def _under(self, numbers: frozenset[int]) -> np.ndarray:
        if self._whose is None:
            self._whose = self.index.cpu().numpy()
        return np.isin(self._whose, [number + 1 for number in numbers])


@dataclass(frozen=True)
class Part:
    """What one operator does at one place.

    Attributes:
        operator: the operator.
        given: its directions, as the file has them: one [width], or one behind the other.
        own: what it needs of them (`Operator.prepare`), likewise.
        places: which of several each intervention has [1 + interventions]; None for one.
        of: the interventions that it is of, and that act.
        alone: whether these are all that there are here.
    """

    operator: Operator
    given: Tensor
    own: tuple[Tensor, ...]
    places: Tensor | None
    of: frozenset[int]
    alone: bool

    def of_tokens(self, index: Tensor, its: Tensor | None = None) -> tuple[Tensor, ...]:
        """What it needs of directions: of all tokens, or of each of those at the places `its` [its tokens, ...]."""
        if self.places is None:
            return self.own
        places = self.places[_pick(index, its)]
        return tuple(one[places] for one in self.own)

    def add(self, hidden: Tensor, shift: Tensor, tokens: Tokens) -> Tensor:
        """A shift of all tokens, also of those that another operator takes as they were before, and puts in place."""
        wide = hidden.to(torch.promote_types(hidden.dtype, torch.float32))
        return self.operator.change(wide, shift, *self.of_tokens(tokens.index)).to(hidden.dtype)

    def where(self, steered: Tensor, tokens: Tokens) -> Tensor:
        """Which tokens it changes, bool of the shape of `steered`, which says of all operators which these are."""
        return steered if self.alone else steered & tokens.mask(self.of).view(steered.shape)


@dataclass(frozen=True)
class Turn:
    """What happens at one place to the tokens of a pass.

    Attributes:
        directions: the one of all of them [width], at sites with heads [heads, head_dim]; or several, one behind the
            other [directions, ...].
        places: which of several each intervention has [1 + interventions]; None for one.
        shares: whether all strengths are shares of ‖h‖.
        mixed: of which interventions they are [1 + interventions], where that differs; else None.
        parts: what each operator does, shifts first; none where no token is steered.
        shifts: whether all operators are shifts, or which interventions' are [1 + interventions], where that differs.
    """

    directions: Tensor
    places: Tensor | None
    shares: bool
    mixed: Tensor | None
    parts: list[Part]
    shifts: bool | Tensor

    @cached_property
    def _sizes(self) -> Tensor:
        return size_of(self.directions)

    @cached_property
    def _several_shifts(self) -> bool:
        return sum(part.operator.is_shift for part in self.parts) > 1

    def direction(self, index: Tensor) -> Tensor:
        """v [width] or [heads, head_dim], or the same of each token [tokens, ...].

        Args:
            index: 1 + number of each token's intervention, 0 for none [tokens]; as everywhere below.
        """
        return self.directions if self.places is None else self.directions[self.places[index]]

    def lengths(self, whole: Callable[[], Tensor], strength: Tensor, index: Tensor) -> Tensor:
        """Strengths [tokens, 1] as lengths of the shift, in lengths of v; `whole` gives what is there.

        At sites with heads both are [tokens, 1, 1], and shares are lengths of each head [tokens, heads, 1].
        """
        if not self.shares and self.mixed is None:
            return strength
        size = self._sizes if self.places is None else self._sizes[self.places[index]]
        shares = share_of_norm(whole(), strength, size)
        return shares if self.mixed is None else torch.where(self.mixed[index].view(strength.shape), shares, strength)

    def apply(
        self, hidden: Tensor, residual: Tensor | None, length: Tensor, steered: Tensor, tokens: Tokens, scale: float
    ) -> tuple[Tensor, Tensor | None]:
        """The two summands of what is there, changed where it is steered; the second is the same where none was.

        Args:
            hidden, residual: the summands [tokens, width] or [tokens, heads, head_dim]; None for a second that there
                is not.
            length: see `lengths`; 0 where nothing is steered.
            steered: bool, of the shape of strengths.
            tokens: whose they are.
            scale: by which the summands are multiplied before they are what interventions mean.
        """
        after, rest = hidden, residual
        for part in self.parts:
            if part.operator.is_shift:  # a length of 0 leaves a token as it is
                its_length = part.where(steered, tokens) * length if self._several_shifts else length
                after = part.add(after, its_length if scale == 1.0 else its_length / scale, tokens)
                continue
            its = None if part.alone and not tokens.exact else tokens.of(part.of)
            if its is not None and not len(its):
                continue
            first, second = _pick(hidden, its), None if residual is None else _pick(residual, its)
            own = part.of_tokens(tokens.index, its)
            changed = part.operator.change(sum_of(first, second, scale), _pick(length, its), *own)
            changed = (changed if scale == 1.0 else changed / scale).to(hidden.dtype)
            where = None if tokens.exact else part.where(steered, tokens)
            if where is not None:
                changed = torch.where(_pick(where, its), changed, first)
            after = _put(changed, its, after, fresh=after is not hidden)
            if rest is not None:  # a sum is handed on whole, beside a residual of nothing
                rest = _empty(rest, its, where, fresh=rest is not residual)
        return after, rest

    def in_doubles(self, before: Tensor, length: Tensor, steered: Tensor, tokens: Tokens) -> Tensor:
        """What the operators make of what is there, in float64."""
        wanted = before
        for part in self.parts:
            its = part.where(steered, tokens)
            directions = part.given if part.places is None else part.given[part.places[tokens.index]]
            wanted = torch.where(its, part.operator.apply(before, length.double(), directions.double()), wanted)
        return wanted


def _pick(of_all: Tensor, its: Tensor | None) -> Tensor:
    return of_all if its is None else of_all.index_select(0, its)


def _put(new: Tensor, its: Tensor | None, of_all: Tensor, fresh: bool) -> Tensor:
    """All with some new ones at their places; written into those that are there where they are `fresh`."""
    if its is None:
        return new
    return of_all.index_copy_(0, its, new) if fresh else of_all.index_copy(0, its, new)


def _empty(of_all: Tensor, its: Tensor | None, where: Tensor | None, fresh: bool) -> Tensor:
    """All with 0 where it says so, else at their places; as `_put`."""
    if where is not None:
        return of_all.masked_fill_(where, 0) if fresh else of_all.masked_fill(where, 0)
    if its is None:
        return torch.zeros_like(of_all)
    return of_all.index_fill_(0, its, 0) if fresh else of_all.index_fill(0, its, 0)


def sum_of(hidden: Tensor, residual: Tensor | None, scale: float) -> Tensor:
    """The sum of the summands times a scale, in float32."""
    whole = hidden.float() if residual is None else hidden.float() + residual.float()
    return whole if scale == 1.0 else whole * scale
