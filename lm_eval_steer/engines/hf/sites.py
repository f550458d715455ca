"""What interventions do at the places of a model: their directions, strengths and operators as tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lm_eval_steer.engines.hf.turns import Part, Turn
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.intervention import Edit, Intervention
from lm_eval_steer.interventions.operators import OF_THE_FILE, OPERATORS
from lm_eval_steer.interventions.tokens import TokenRule, token_rules
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

    def at(self, column: int, numbers: Sequence[int], tensors: Tensors) -> Turn:
        """What happens to rows of these interventions at a place."""
        return self._sites[column].turn(numbers, self._shares, tensors)


Kind = tuple[str, int | None]
"""An operator, and the place of its map where it takes one, each of which is applied by itself."""


class Tensors:
    """Tensors on a device of what is said of rows; the same one for what is said again, as at every block.

    Args:
        device: where they are.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.index = cache(self._index)
        self.mask = cache(self._mask)

    def _index(self, values: tuple[int, ...]) -> Tensor:
        return torch.tensor(values, device=self.device)

    def _mask(self, values: tuple[bool, ...]) -> Tensor:
        return torch.tensor(values, device=self.device)[:, None, None]


class _Site:
    """One place: the distinct directions [directions, hidden], and what each intervention that acts here does."""

    def __init__(self, place: Place, edits: dict[int, Edit]) -> None:
        self._by_head = SITES[split(place)[0]].by_head
        distinct = {edit.sha: edit for edit in edits.values()}
        places = {sha: number for number, sha in enumerate(distinct)}
        self._given = [torch.from_numpy(np.asarray(edit.direction, dtype=np.float32)) for edit in distinct.values()]
        several = [OPERATORS[edit.operator].directions != 1 for edit in distinct.values()]
        firsts = [array[..., 0, :] if more else array for array, more in zip(self._given, several, strict=True)]
        shapes = sorted({tuple(first.shape) for first in firsts})
        if len(shapes) > 1:
            one, other = (" x ".join(map(str, shape)) for shape in (shapes[0], shapes[-1]))
            raise SteeringError(f"the directions of {told(place)} are {one} and {other} wide: give those of one model")
        self.directions = torch.stack(firsts)
        self._direction = {number: places[edit.sha] for number, edit in edits.items()}
        self._kinds = {
            number: (edit.operator, places[edit.sha] if OPERATORS[edit.operator].directions == OF_THE_FILE else None)
            for number, edit in edits.items()
        }
        self._own: dict[Kind, tuple[Tensor, ...]] = {}
        self._places: dict[Kind, dict[int, int]] = {}

    def turn(self, numbers: Sequence[int], shares: Sequence[bool], tensors: Tensors) -> Turn:
        if self.directions.device != tensors.device:  # the blocks of a split model live on several devices
            self.directions = self.directions.to(tensors.device)
            self._own.clear()

        def mask(rows: Sequence[bool]) -> Tensor:
            of_rows = tensors.mask(tuple(rows))
            return of_rows[..., None] if self._by_head else of_rows

        acting = [number for number in numbers if number in self._direction]
        units = {shares[number] for number in acting}
        kinds = [self._kinds.get(number) for number in numbers]
        distinct = list(dict.fromkeys(kind for kind in kinds if kind))
        parts = []
        for kind in sorted(distinct, key=lambda kind: not OPERATORS[kind[0]].is_shift):
            its = [row for row, other in enumerate(kinds) if other == kind]
            if len(its) == len(numbers) or (OPERATORS[kind[0]].is_shift and not distinct[1:]):
                its, rows, only = list(range(len(numbers))), None, None
            elif OPERATORS[kind[0]].is_shift:
                its, rows, only = list(range(len(numbers))), None, mask([other == kind for other in kinds])
            else:
                rows, only = tensors.index(tuple(its)), None
            own = self._of_rows(kind, [numbers[row] for row in its], tensors)
            parts.append(Part(OPERATORS[kind[0]], own, rows, only))
        shifting = {number: OPERATORS[self._kinds[number][0]].is_shift for number in acting}
        shifts: bool | Tensor = all(shifting.values())
        if len(set(shifting.values())) > 1:
            shifts = mask([shifting.get(number, True) for number in numbers])
        places = (
            tuple(self._direction.get(number, self._direction[acting[0]]) for number in numbers) if acting else (0,)
        )
        return Turn(
            self.directions[places[0]] if len(set(places)) < 2 else self.directions[tensors.index(places), None],
            units == {True},
            mask([shares[number] for number in numbers]) if len(units) > 1 else None,
            parts,
            shifts,
        )

    def _of_rows(self, kind: Kind, numbers: Sequence[int], tensors: Tensors) -> tuple[Tensor, ...]:
        """What an operator needs of its directions, where they are one; else of each row [rows, 1, ...]."""
        if kind not in self._own:
            found = {self._direction[number]: None for number, other in self._kinds.items() if other == kind}
            given = torch.stack([self._given[place] for place in found]).to(tensors.device)
            self._places[kind] = {place: number for number, place in enumerate(found)}
            self._own[kind] = OPERATORS[kind[0]].prepare(given)
        here = self._places[kind]
        first = next(here[self._direction[number]] for number in numbers if self._kinds.get(number) == kind)
        places = tuple(
            here[self._direction[number]] if self._kinds.get(number) == kind else first for number in numbers
        )
        if len(set(places)) == 1:
            return tuple(one[first] for one in self._own[kind])
        return tuple(one[tensors.index(places), None] for one in self._own[kind])


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
        self._tensors: dict[torch.device, Tensors] = {}

    def at(self, column: int, device: torch.device) -> Turn:
        """What happens to the rows at a place, given its column and its device."""
        if column not in self._turns:
            tensors = self._tensors.setdefault(device, Tensors(device))
            self._turns[column] = self._sites.at(column, self.numbers, tensors)
        return self._turns[column]
