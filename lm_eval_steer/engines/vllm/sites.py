"""What interventions do at the places of a vLLM model: tables that each token of a pass is looked up in.

The tokens of all requests lie one behind the other [tokens, hidden], at sites with heads [tokens, heads, head_dim];
each has the number of its intervention, plus 1, or 0 where nothing is steered. engines/hf/sites.py has the same for
rows of a padded batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lm_eval_steer.engines.vllm.anchors import Anchor
from lm_eval_steer.interventions.intervention import Edit, Intervention
from lm_eval_steer.interventions.operators import OF_THE_FILE, OPERATORS, Operator
from lm_eval_steer.interventions.units import share_of_norm
from lm_eval_steer.sites import Place, in_order


class Sites:
    """Interventions by number, at every place that one of them steers.

    Args:
        interventions: in the order of their numbers.
        anchors: places that this process holds.
        device: of the model.

    Attributes:
        places: those that are steered, in their order; a column of the tables is one of them.
        strengths: float32 [places, 1 + interventions], 0 where nothing acts.
        acts: bool [places, 1 + interventions].
    """

    def __init__(
        self, interventions: Sequence[Intervention], anchors: Mapping[Place, Anchor], device: torch.device
    ) -> None:
        self.places = tuple(in_order({edit.place for one in interventions for edit in one.edits}))
        strengths = np.zeros((len(self.places), 1 + len(interventions)), dtype=np.float32)
        acts = np.zeros_like(strengths, dtype=bool)
        edits: list[dict[int, Edit]] = [{} for _ in self.places]
        for number, one in enumerate(interventions):
            for edit in one.edits:
                column = self.places.index(edit.place)
                edits[column][number] = edit
                strengths[column, 1 + number] = edit.strength
                acts[column, 1 + number] = edit.acts
        self.strengths = torch.from_numpy(strengths).to(device)
        self.acts = torch.from_numpy(acts).to(device)
        shares = [one.unit == "dose" for one in interventions]
        self._sites = [
            _Site(found, shares, anchors[place].heads, device) if place in anchors else None
            for place, found in zip(self.places, edits, strict=True)
        ]

    def shape(self, column: int) -> tuple[int, ...]:
        """Of what a token has at a place of this process: [width], or [heads, head_dim]."""
        site = self._sites[column]
        assert site is not None
        return site.shape

    def turn(self, column: int, numbers: frozenset[int]) -> Turn:
        """What happens at a place of this process to tokens of these interventions."""
        site = self._sites[column]
        assert site is not None
        return site.turn(numbers)


class _Site:
    """One place: its distinct directions, and what each intervention that is steered here does.

    Args:
        edits: by number of their intervention.
        shares: of all interventions, whether their strengths are shares of ‖h‖.
        heads: those that this process holds of directions [heads, head_dim]; None at sites without.
        device: of the model.
    """

    def __init__(
        self, edits: dict[int, Edit], shares: Sequence[bool], heads: slice | None, device: torch.device
    ) -> None:
        distinct = {edit.sha: edit for edit in edits.values()}
        places = {sha: place for place, sha in enumerate(distinct)}
        firsts = []
        self._several: dict[int, Tensor] = {}
        for place, edit in enumerate(distinct.values()):
            held = edit.direction if heads is None else edit.direction[heads]
            array = torch.from_numpy(np.array(held, dtype=np.float32)).to(device)
            if OPERATORS[edit.operator].directions != 1:
                self._several[place] = array
                array = array.select(-2, 0)
            firsts.append(array)
        self._directions = torch.stack(firsts)
        self.shape = tuple(self._directions.shape[1:])
        self._edits, self._shares, self._device = edits, list(shares), device
        self._place = {number: places[edit.sha] for number, edit in edits.items()}
        self._turns: dict[frozenset[int], Turn] = {}

    def turn(self, numbers: frozenset[int]) -> Turn:
        if numbers not in self._turns:
            self._turns[numbers] = self._make(numbers)
        return self._turns[numbers]

    def _make(self, numbers: frozenset[int]) -> Turn:
        acting = sorted(numbers & self._edits.keys())
        kinds = list(dict.fromkeys(self._kind(number) for number in acting))
        units = {self._shares[number] for number in acting}
        places = {self._place[number] for number in acting}
        several = self._table([self._place.get(number, 0) for number in range(len(self._shares))])
        return Turn(
            self._directions[next(iter(places), 0)] if len(places) < 2 else self._directions,
            several if len(places) > 1 else None,
            units == {True},
            self._table(self._shares).bool() if len(units) > 1 else None,
            [
                (OPERATORS[name], self._mask((name, map)) if len(kinds) > 1 else None, self._stack(name, map))
                for name, map in kinds
            ],
            self._shifts(acting),
        )

    def _kind(self, number: int) -> tuple[str, int | None]:
        """Operator of an intervention, and the place of its map where it takes one: each is applied by itself."""
        name = self._edits[number].operator
        return name, self._place[number] if OPERATORS[name].directions == OF_THE_FILE else None

    def _stack(self, operator: str, map: int | None) -> Tensor | None:
        """The directions of an operator of several, by intervention [1 + interventions, ..., directions, width]; of a
        map its rows, for all [rows, width]."""
        if map is not None:
            return self._several[map]
        if OPERATORS[operator].directions == 1:
            return None
        places = {number: self._place[number] for number, edit in self._edits.items() if edit.operator == operator}
        other = next(iter(places.values()))
        stacked = [self._several[places.get(number, other)] for number in range(-1, len(self._shares))]
        return torch.stack(stacked)

    def _mask(self, kind: tuple[str, int | None]) -> Tensor:
        of = {number for number in self._edits if self._kind(number) == kind}
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
    """What happens at one place to the tokens of a pass.

    Attributes:
        directions: the one of all of them [width], at sites with heads [heads, head_dim]; or several, one behind the
            other [directions, ...].
        places: which of several each intervention has [1 + interventions]; None for one.
        shares: whether all strengths are shares of ‖h‖.
        mixed: of which interventions they are [1 + interventions], where that differs; else None.
        operators: each with its interventions [1 + interventions], or None where there is one, and the directions of
            one that takes several [1 + interventions, ..., directions, width], or the map of all its tokens.
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
        """Whether what is there must be known to change it, not only one of two tensors whose sum it is."""
        return self.shares or self.mixed is not None or any(operator.needs_whole for operator, *_ in self.operators)

    def direction(self, index: Tensor) -> Tensor:
        """v [width] or [heads, head_dim], or the same of each token [tokens, ...].

        Args:
            index: 1 + number of each token's intervention, 0 for none [tokens]; as everywhere below.
        """
        return self.directions if self.places is None else self.directions[self.places[index]]

    def lengths(self, whole: Tensor, strength: Tensor, direction: Tensor, index: Tensor) -> Tensor:
        """Strengths [tokens, 1] as lengths of the shift, in lengths of v; `whole` is what is there.

        At sites with heads both are [tokens, 1, 1], and shares are lengths of each head [tokens, heads, 1].
        """
        if self.shares:
            return share_of_norm(whole, strength, direction)
        if self.mixed is None:
            return strength
        return torch.where(self.mixed[index].view(strength.shape), share_of_norm(whole, strength, direction), strength)

    def apply(
        self,
        hidden: Tensor,
        residual: Tensor | None,
        whole: Tensor,
        length: Tensor,
        steered: Tensor,
        direction: Tensor,
        index: Tensor,
        scale: float,
    ) -> tuple[Tensor, Tensor | None]:
        """The two summands of what is there, changed where it is steered; the second is the same where none was.

        Args:
            hidden, residual: the summands [tokens, width] or [tokens, heads, head_dim]; None for a second that there
                is not.
            whole: their sum times `scale`, where `reads_sum`.
            length: see `lengths`; 0 where nothing is steered.
            steered: bool, of the shape of strengths.
            direction: see `direction`.
            index: see `direction`.
            scale: by which the summands are multiplied before they are what interventions mean.
        """
        shift = length if scale == 1.0 else length / scale
        if len(self.operators) == 1 and self.operators[0][0].is_shift:  # a length of 0 leaves a token as it is
            return self.operators[0][0].apply(hidden, shift, direction), residual
        after, rest = hidden, residual
        for operator, of, several in self.operators:
            its = steered if of is None else steered & of[index].view(steered.shape)
            if operator.is_shift:
                after = torch.where(its, operator.apply(hidden, shift, direction), after)
                continue
            changed = operator.apply(
                whole, length, direction if several is None else _of_tokens(operator, several, index)
            )
            changed = changed if scale == 1.0 else changed / scale
            after = torch.where(its, changed.to(hidden.dtype), after)
            if rest is not None:  # a sum is handed on whole, beside a residual of nothing
                rest = rest.masked_fill(its, 0)
        return after, rest

    def in_doubles(self, before: Tensor, length: Tensor, steered: Tensor, direction: Tensor, index: Tensor) -> Tensor:
        """What the operators make of what is there, in float64."""
        wanted = before
        for operator, of, several in self.operators:
            its = steered if of is None else steered & of[index].view(steered.shape)
            directions = (direction if several is None else _of_tokens(operator, several, index)).double()
            wanted = torch.where(its, operator.apply(before, length.double(), directions), wanted)
        return wanted


def _of_tokens(operator: Operator, several: Tensor, index: Tensor) -> Tensor:
    """The directions of each token [tokens, ..., directions, width]; a map is that of all."""
    return several if operator.directions == OF_THE_FILE else several[index]
