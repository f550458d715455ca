"""What interventions do at the blocks of a vLLM model: tables that every token of a pass is looked up in.

The tokens of all requests lie one behind the other [tokens, hidden]; each has the number of its intervention, plus 1,
or 0 where nothing is steered. engines/hf/sites.py has the same for rows of a padded batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lm_eval_steer.interventions.intervention import Edit, Intervention
from lm_eval_steer.interventions.operators import OPERATORS, Operator
from lm_eval_steer.interventions.units import share_of_norm


class Sites:
    """Interventions by number, at every block that one of them steers.

    Args:
        interventions: in the order of their numbers.
        device: of the model.
        here: of each block, whether this process holds it.

    Attributes:
        blocks: those that are steered, ascending; a column of the tables is one of them.
        strengths: float32 [blocks, 1 + interventions], 0 where nothing acts.
        acts: bool [blocks, 1 + interventions].

    Raises:
        ValueError: for a block that the model does not have.
    """

    def __init__(self, interventions: Sequence[Intervention], device: torch.device, here: Sequence[bool]) -> None:
        self.blocks = tuple(sorted({edit.block for one in interventions for edit in one.edits}))
        if self.blocks and not 0 <= self.blocks[0] <= self.blocks[-1] < len(here):
            wrong = next(block for block in self.blocks if not 0 <= block < len(here))
            raise ValueError(f"an intervention steers block {wrong}, and the model has blocks 0 to {len(here) - 1}")
        strengths = np.zeros((len(self.blocks), 1 + len(interventions)), dtype=np.float32)
        acts = np.zeros_like(strengths, dtype=bool)
        edits: list[dict[int, Edit]] = [{} for _ in self.blocks]
        for number, one in enumerate(interventions):
            for edit in one.edits:
                column = self.blocks.index(edit.block)
                edits[column][number] = edit
                strengths[column, 1 + number] = edit.strength
                acts[column, 1 + number] = edit.acts
        self.strengths = torch.from_numpy(strengths).to(device)
        self.acts = torch.from_numpy(acts).to(device)
        shares = [one.unit == "dose" for one in interventions]
        self._sites = [
            _Site(found, shares, device) if here[block] else None
            for block, found in zip(self.blocks, edits, strict=True)
        ]

    def turn(self, column: int, numbers: frozenset[int]) -> Turn:
        """What happens at a block of this process to tokens of these interventions."""
        site = self._sites[column]
        assert site is not None
        return site.turn(numbers)


class _Site:
    """One block: its distinct directions, and what each intervention that is steered here does."""

    def __init__(self, edits: dict[int, Edit], shares: Sequence[bool], device: torch.device) -> None:
        distinct = {edit.sha: edit.direction for edit in edits.values()}
        places = {sha: place for place, sha in enumerate(distinct)}
        arrays = [torch.from_numpy(np.asarray(direction, dtype=np.float32)) for direction in distinct.values()]
        self._directions = torch.stack([one if one.dim() == 1 else one[0] for one in arrays]).to(device)
        self._several = {place: one.to(device) for place, one in enumerate(arrays) if one.dim() > 1}
        self._edits, self._shares, self._device = edits, list(shares), device
        self._place = {number: places[edit.sha] for number, edit in edits.items()}
        self._turns: dict[frozenset[int], Turn] = {}

    def turn(self, numbers: frozenset[int]) -> Turn:
        if numbers not in self._turns:
            self._turns[numbers] = self._make(numbers)
        return self._turns[numbers]

    def _make(self, numbers: frozenset[int]) -> Turn:
        acting = sorted(numbers & self._edits.keys())
        names = list(dict.fromkeys(self._edits[number].operator for number in acting))
        units = {self._shares[number] for number in acting}
        places = {self._place[number] for number in acting}
        several = self._table([self._place.get(number, 0) for number in range(len(self._shares))])
        return Turn(
            self._directions[next(iter(places), 0)] if len(places) < 2 else self._directions,
            several if len(places) > 1 else None,
            units == {True},
            self._table(self._shares).bool() if len(units) > 1 else None,
            [(OPERATORS[name], self._mask(name) if len(names) > 1 else None, self._stack(name)) for name in names],
            self._shifts(acting),
        )

    def _stack(self, operator: str) -> Tensor | None:
        """The directions of an operator of several, by intervention [1 + interventions, directions, hidden]."""
        if OPERATORS[operator].directions == 1:
            return None
        places = {number: self._place[number] for number, edit in self._edits.items() if edit.operator == operator}
        other = next(iter(places.values()))
        stacked = [self._several[places.get(number, other)] for number in range(-1, len(self._shares))]
        return torch.stack(stacked)

    def _mask(self, operator: str) -> Tensor:
        of = {number for number, edit in self._edits.items() if edit.operator == operator}
        return self._table([number in of for number in range(len(self._shares))]).bool()

    def _shifts(self, acting: Sequence[int]) -> bool | Tensor:
        kinds = {number: OPERATORS[edit.operator].is_shift for number, edit in self._edits.items()}
        if len({kinds[number] for number in acting}) > 1:
            return self._table([kinds.get(number, True) for number in range(len(self._shares))]).bool()
        return all(kinds[number] for number in acting)

    def _table(self, values: Sequence[int]) -> Tensor:
        """A value for each intervention, behind one for none [1 + interventions]."""
        return torch.tensor([0, *values], dtype=torch.int64, device=self._device)


@dataclass(frozen=True)
class Turn:
    """What happens at one block to the tokens of a pass.

    Attributes:
        directions: the one of all of them [hidden], or several [directions, hidden].
        places: which of several each intervention has [1 + interventions]; None for one.
        shares: whether all strengths are shares of ‖h‖.
        mixed: of which interventions they are [1 + interventions], where that differs; else None.
        operators: each with its interventions [1 + interventions], or None where there is one, and the directions of
            one that takes several [1 + interventions, directions, hidden].
        shifts: whether all operators are shifts, or which interventions' are [1 + interventions], where that differs.
    """

    directions: Tensor
    places: Tensor | None
    shares: bool
    mixed: Tensor | None
    operators: list[tuple[Operator, Tensor | None, Tensor | None]]
    shifts: bool | Tensor

    @property
    def reads_sum(self) -> bool:
        """Whether the block's output must be known to change it, not only one of two tensors whose sum it is."""
        return self.shares or self.mixed is not None or any(not operator.is_shift for operator, *_ in self.operators)

    def direction(self, index: Tensor) -> Tensor:
        """v [hidden], or of each token [tokens, hidden].

        Args:
            index: 1 + number of each token's intervention, 0 for none [tokens]; as everywhere below.
        """
        return self.directions if self.places is None else self.directions[self.places[index]]

    def lengths(self, whole: Tensor, strength: Tensor, direction: Tensor, index: Tensor) -> Tensor:
        """Strengths [tokens, 1] as lengths of the shift, in lengths of v; `whole` is the block's output."""
        if self.shares:
            return share_of_norm(whole, strength, direction)
        if self.mixed is None:
            return strength
        return torch.where(self.mixed[index, None], share_of_norm(whole, strength, direction), strength)

    def apply(
        self,
        hidden: Tensor,
        residual: Tensor | None,
        whole: Tensor,
        length: Tensor,
        steered: Tensor,
        direction: Tensor,
        index: Tensor,
    ) -> tuple[Tensor, Tensor | None]:
        """The two summands of the block's output, changed where it is steered; the second is the same where none was.

        Args:
            hidden, residual: the summands [tokens, hidden]; None for a second that there is not.
            whole: their sum, where `reads_sum`.
            length: see `lengths`; 0 where nothing is steered [tokens, 1].
            steered: bool [tokens, 1].
            direction: see `direction`.
            index: see `direction`.
        """
        if len(self.operators) == 1 and self.operators[0][0].is_shift:  # a length of 0 leaves a token as it is
            return self.operators[0][0].apply(hidden, length, direction), residual
        after, rest = hidden, residual
        for operator, of, several in self.operators:
            its = steered if of is None else steered & of[index, None]
            if operator.is_shift:
                after = torch.where(its, operator.apply(hidden, length, direction), after)
                continue
            directions = direction if several is None else several[index]
            after = torch.where(its, operator.apply(whole, length, directions).to(hidden.dtype), after)
            if rest is not None:  # a sum is handed on whole, beside a residual of nothing
                rest = torch.where(its, torch.zeros_like(rest), rest)
        return after, rest

    def in_doubles(self, before: Tensor, length: Tensor, steered: Tensor, direction: Tensor, index: Tensor) -> Tensor:
        """What the operators make of a block's output, in float64 [tokens, hidden]."""
        wanted = before
        for operator, of, several in self.operators:
            its = steered if of is None else steered & of[index, None]
            directions = (direction if several is None else several[index]).double()
            wanted = torch.where(its, operator.apply(before, length.double(), directions), wanted)
        return wanted
