"""What interventions do at the places of a model: their directions, strengths and operators as tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.intervention import Edit, Intervention
from lm_eval_steer.interventions.operators import OF_THE_FILE, OPERATORS, Operator
from lm_eval_steer.interventions.tokens import TokenRule, token_rules
from lm_eval_steer.interventions.units import share_of_norm
from lm_eval_steer.sites import SITES, Place, in_order, split, told


class Sites:
    """Interventions by number, at every place that one of them steers.

    Args:
        interventions: in the order of their numbers.
        depth: how many blocks the model has.
        tokenizer: gives the model's, for token rules that match texts; None where there is none.

    Attributes:
        interventions: the same.
        places: those that are steered, in their order; a column of the tables is one of them.
        strengths: float32 [interventions, places], 0 where nothing acts.
        acts: bool [interventions, places].
        rules: token rule of each intervention.

    Raises:
        SteeringError: for a block that the model does not have, directions of different widths in one place, and a
            token rule that needs another tokenizer.
    """

    def __init__(
        self, interventions: Sequence[Intervention], depth: int, tokenizer: Callable[[], Any] | None = None
    ) -> None:
        self.interventions = tuple(interventions)
        self.places = tuple(in_order({place for one in self.interventions for place in one.places}))
        self.rules: list[TokenRule] = token_rules((one.tokens for one in self.interventions), tokenizer)
        for site, block in map(split, self.places):
            if not 0 <= block < (depth if SITES[site].in_blocks else 1):
                raise SteeringError(f"an intervention steers block {block}, and the model has blocks 0 to {depth - 1}")
        shape = (len(self.interventions), len(self.places))
        self.strengths = torch.zeros(shape, dtype=torch.float32)
        self.acts = torch.zeros(shape, dtype=torch.bool)
        edits: list[dict[int, Edit]] = [{} for _ in self.places]
        for number, one in enumerate(self.interventions):
            for edit in one.edits:
                column = self.places.index(edit.place)
                edits[column][number] = edit
                self.strengths[number, column] = edit.strength
                self.acts[number, column] = True
        self._sites = [_Site(place, found) for place, found in zip(self.places, edits, strict=True)]
        self._shares = [one.unit == "dose" for one in self.interventions]

    def shape(self, column: int) -> tuple[int, ...]:
        """Of the directions of a place: [hidden] or [heads, head_dim]."""
        return tuple(self._sites[column].directions.shape[1:])

    def at(self, column: int, numbers: Sequence[int], device: torch.device) -> Turn:
        """What happens to rows of these interventions at a place."""
        return self._sites[column].turn(numbers, self._shares, device)


class _Site:
    """One place: the distinct directions [directions, hidden], and what each intervention that acts here does."""

    def __init__(self, place: Place, edits: dict[int, Edit]) -> None:
        self._by_head = SITES[split(place)[0]].by_head
        distinct = {edit.sha: edit for edit in edits.values()}
        places = {sha: number for number, sha in enumerate(distinct)}
        arrays = [torch.from_numpy(np.asarray(edit.direction, dtype=np.float32)) for edit in distinct.values()]
        several = [OPERATORS[edit.operator].directions != 1 for edit in distinct.values()]
        firsts = [array[..., 0, :] if more else array for array, more in zip(arrays, several, strict=True)]
        shapes = sorted({tuple(first.shape) for first in firsts})
        if len(shapes) > 1:
            one, other = (" x ".join(map(str, shape)) for shape in (shapes[0], shapes[-1]))
            raise SteeringError(f"the directions of {told(place)} are {one} and {other} wide: give those of one model")
        self.directions = torch.stack(firsts)
        self._several = {number: array for number, array in enumerate(arrays) if several[number]}
        self._direction = {number: places[edit.sha] for number, edit in edits.items()}
        self._operator = {number: edit.operator for number, edit in edits.items()}

    def turn(self, numbers: Sequence[int], shares: Sequence[bool], device: torch.device) -> Turn:
        if self.directions.device != device:  # the blocks of a split model live on several devices
            self.directions = self.directions.to(device)
            self._several = {place: array.to(device) for place, array in self._several.items()}

        def mask(rows: Sequence[bool]) -> Tensor:
            of_rows = torch.tensor(rows, device=device)[:, None, None]
            return of_rows[..., None] if self._by_head else of_rows

        acting = [number for number in numbers if number in self._direction]
        places = {self._direction[number] for number in acting}
        if len(places) < 2:
            direction = self.directions[next(iter(places), 0)]
        else:
            rows = torch.tensor([self._direction.get(number, 0) for number in numbers], device=device)
            direction = self.directions[rows, None]
        units = {shares[number] for number in acting}
        kinds_of = [self._kind(number) for number in numbers]
        distinct = list(dict.fromkeys(kind for kind in kinds_of if kind))
        operators = [
            (
                OPERATORS[name],
                mask([kind == (name, place) for kind in kinds_of]) if distinct[1:] else None,
                self._stack(name, numbers) if place is None else self._several[place],
            )
            for name, place in distinct
        ]
        mixed = mask([shares[number] for number in numbers]) if len(units) > 1 else None
        kinds = {number: OPERATORS[self._operator[number]].is_shift for number in acting}
        shifts: bool | Tensor = all(kinds.values())
        if len(set(kinds.values())) > 1:
            shifts = mask([kinds.get(number, True) for number in numbers])
        return Turn(direction, units == {True}, mixed, operators, shifts)

    def _kind(self, number: int) -> tuple[str, int | None] | None:
        """Operator of an intervention, and the place of its map where it takes one, each of which is applied by itself;
        None for one that does nothing here."""
        name = self._operator.get(number)
        if name is None:
            return None
        return name, self._direction[number] if OPERATORS[name].directions == OF_THE_FILE else None

    def _stack(self, operator: str, numbers: Sequence[int]) -> Tensor | None:
        """The directions of an operator of several, of all its rows or of each row [rows, 1, directions, hidden]."""
        if OPERATORS[operator].directions == 1:
            return None
        places = [self._direction[number] if self._operator.get(number) == operator else None for number in numbers]
        distinct = list(dict.fromkeys(place for place in places if place is not None))
        if len(distinct) == 1:
            return self._several[distinct[0]]
        return torch.stack([self._several[distinct[0] if place is None else place] for place in places])[:, None]


@dataclass(frozen=True)
class Turn:
    """What happens to the rows of a batch at one place.

    Attributes:
        direction: of all rows that are steered here [hidden], or of each row [rows, 1, hidden]; of several the first.
        shares: whether the strengths of all of them are shares of ‖h‖.
        mixed: of which rows they are [rows, 1, 1], where that differs; else None.
        operators: each with its rows [rows, 1, 1], or None where there is one, and the directions of one that takes
            several; none where no row is steered.
        shifts: whether all operators are shifts, or which rows' are [rows, 1, 1], where that differs.
    """

    direction: Tensor
    shares: bool
    mixed: Tensor | None
    operators: list[tuple[Operator, Tensor | None, Tensor | None]]
    shifts: bool | Tensor

    @property
    def keeps_zero(self) -> bool:
        """Whether a strength of 0 leaves a position as it is, so that no mask has to."""
        return len(self.operators) == 1 and self.operators[0][0].is_shift

    def lengths(self, hidden: Tensor, strength: Tensor) -> Tensor:
        """Strengths [rows, positions, 1] as lengths of the shift, in lengths of v."""
        if self.shares:
            return share_of_norm(hidden, strength, self.direction)
        if self.mixed is None:
            return strength
        return torch.where(self.mixed, share_of_norm(hidden, strength, self.direction), strength)

    def apply(self, hidden: Tensor, length: Tensor, steered: Tensor) -> Tensor:
        """What is at the place, changed where it is steered.

        Args:
            hidden: what is there [rows, positions, hidden].
            length: see `lengths`; 0 where nothing is steered.
            steered: bool [rows, positions, 1].
        """
        if self.keeps_zero:
            return self.operators[0][0].apply(hidden, length, self.direction)
        after = hidden
        for operator, rows, several in self.operators:
            its = steered if rows is None else steered & rows
            directions = self.direction if several is None else several
            after = torch.where(its, operator.apply(hidden, length, directions), after)
        return after


class LineUp:
    """Rows and the interventions that they are under; what happens to them at each place is found out once.

    Args:
        sites: of all interventions.
        numbers: intervention of each row.
        device: where passes are announced.

    Attributes:
        numbers: the same.
        index: the same, as a tensor [rows].
        strengths: float32 [places, rows, 1].
        acts: bool [places, rows, 1].
    """

    def __init__(self, sites: Sites, numbers: Sequence[int], device: torch.device) -> None:
        self._sites, self.numbers = sites, tuple(numbers)
        rows = list(numbers)
        self.index = torch.tensor(rows, device=device)
        self.strengths = sites.strengths[rows].T[:, :, None].to(device)
        self.acts = sites.acts[rows].T[:, :, None].to(device)
        self._turns: dict[int, Turn] = {}

    def at(self, column: int, device: torch.device) -> Turn:
        """What happens to the rows at a place, given its column and its device."""
        if column not in self._turns:
            self._turns[column] = self._sites.at(column, self.numbers, device)
        return self._turns[column]
