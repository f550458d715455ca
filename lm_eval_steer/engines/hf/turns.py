"""What happens to the rows of a batch at one place: each operator changes the rows that are under it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from lm_eval_steer.interventions.operators import Operator
from lm_eval_steer.interventions.units import share_of_norm, size_of


@dataclass(frozen=True)
class Part:
    """What one operator does to rows of a batch at one place.

    Attributes:
        operator: the operator.
        own: what it needs of its directions (`Operator.prepare`): of all its rows, or of each [its rows, 1, ...].
        rows: which are its [its rows]; None for all.
        only: of a shift, which is applied to all rows, those that are its [rows, 1, 1]; None for all.
    """

    operator: Operator
    own: tuple[Tensor, ...]
    rows: Tensor | None
    only: Tensor | None

    def changed(self, hidden: Tensor, length: Tensor) -> Tensor:
        """What the operator makes of its rows, computed in float32 at least and rounded once."""
        dtype = torch.promote_types(hidden.dtype, torch.float32)
        own = self.own if dtype is torch.float32 else tuple(one.to(dtype) for one in self.own)
        return self.operator.change(hidden.to(dtype), length.to(dtype), *own).to(hidden.dtype)

    def apply(self, hidden: Tensor, length: Tensor, steered: Tensor, fresh: bool) -> Tensor:
        """What is at the place, changed where it is steered.

        Args:
            hidden, length, steered: as for `Turn.apply`.
            fresh: whether `hidden` may be written to.
        """
        if self.operator.is_shift:  # a length of 0 leaves a position as it is
            return self.changed(hidden, length if self.only is None else length * self.only)
        if self.rows is None:
            return torch.where(steered, self.changed(hidden, length), hidden)
        before, length, steered = (one.index_select(0, self.rows) for one in (hidden, length, steered))
        after = torch.where(steered, self.changed(before, length), before)
        return hidden.index_copy_(0, self.rows, after) if fresh else hidden.index_copy(0, self.rows, after)


@dataclass(frozen=True)
class Turn:
    """What happens to the rows of a batch at one place.

    Attributes:
        direction: of all rows that are steered here [hidden], or of each row [rows, 1, hidden]; of several the first.
        shares: whether the strengths of all of them are shares of ‖h‖.
        mixed: of which rows they are [rows, 1, 1], where that differs; else None.
        parts: what each operator does, shifts first; none where no row is steered.
        shifts: whether all operators are shifts, or which rows' are [rows, 1, 1], where that differs.
    """

    direction: Tensor
    shares: bool
    mixed: Tensor | None
    parts: list[Part]
    shifts: bool | Tensor

    @cached_property
    def _size(self) -> Tensor:
        return size_of(self.direction)

    def lengths(self, hidden: Tensor, strength: Tensor) -> Tensor:
        """Strengths [rows, positions, 1] as lengths of the shift, in lengths of v."""
        if self.shares:
            return share_of_norm(hidden, strength, self._size)
        if self.mixed is None:
            return strength
        return torch.where(self.mixed, share_of_norm(hidden, strength, self._size), strength)

    def apply(self, hidden: Tensor, length: Tensor, steered: Tensor) -> Tensor:
        """What is at the place, changed where it is steered.

        Args:
            hidden: what is there [rows, positions, hidden].
            length: see `lengths`; 0 where nothing is steered.
            steered: bool [rows, positions, 1].
        """
        after = hidden
        for part in self.parts:
            after = part.apply(after, length, steered, fresh=after is not hidden)
        return after
