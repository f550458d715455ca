"""What interventions do at the places of a vLLM model: tables that each token of a pass is looked up in.

The tokens of all requests lie one behind the other [tokens, hidden], at sites with heads [tokens, heads, head_dim];
each has the number of its intervention, plus 1, or 0 where nothing is steered. engines/hf/sites.py has the same for
rows of a padded batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from lm_eval_steer.engines.vllm.anchors import Anchor
from lm_eval_steer.engines.vllm.turns import Part, Turn
from lm_eval_steer.interventions.intervention import Edit, Intervention
from lm_eval_steer.interventions.operators import OF_THE_FILE, OPERATORS
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
                strengths[column, 1 + number] = edit.strength if edit.acts else 0
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


Kind = tuple[str, int | None]
"""An operator, and the place of its map where it takes one: each is applied by itself."""


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
        self._given: list[Tensor] = []
        firsts = []
        for edit in distinct.values():
            held = edit.direction if heads is None else edit.direction[heads]
            array = torch.from_numpy(np.array(held, dtype=np.float32)).to(device)
            self._given.append(array)
            firsts.append(array if OPERATORS[edit.operator].directions == 1 else array.select(-2, 0))
        self._directions = torch.stack(firsts)
        self.shape = tuple(self._directions.shape[1:])
        self._edits, self._shares, self._device = edits, list(shares), device
        self._place = {number: places[edit.sha] for number, edit in edits.items()}
        self._turns: dict[frozenset[int], Turn] = {}
        self._prepared: dict[Kind, tuple[list[int], Tensor, tuple[Tensor, ...]]] = {}

    def turn(self, numbers: frozenset[int]) -> Turn:
        if numbers not in self._turns:
            self._turns[numbers] = self._make(numbers)
        return self._turns[numbers]

    def _make(self, numbers: frozenset[int]) -> Turn:
        acting = sorted(numbers & self._edits.keys())
        kinds = dict.fromkeys(self._kind(number) for number in acting)
        units = {self._shares[number] for number in acting}
        places = {self._place[number] for number in acting}
        several = self._table([self._place.get(number, 0) for number in range(len(self._shares))])
        return Turn(
            self._directions[next(iter(places), 0)] if len(places) < 2 else self._directions,
            several if len(places) > 1 else None,
            units == {True},
            self._table(self._shares).bool() if len(units) > 1 else None,
            [self._part(kind, acting) for kind in sorted(kinds, key=lambda kind: not OPERATORS[kind[0]].is_shift)],
            self._shifts(acting),
        )

    def _kind(self, number: int) -> Kind:
        name = self._edits[number].operator
        return name, self._place[number] if OPERATORS[name].directions == OF_THE_FILE else None

    def _part(self, kind: Kind, acting: Sequence[int]) -> Part:
        """What an operator does, given the interventions of a pass that act here."""
        if kind not in self._prepared:  # of all interventions, also those that are not in this pass
            all_of_it = sorted({self._place[number] for number in self._edits if self._kind(number) == kind})
            given = torch.stack([self._given[place] for place in all_of_it])
            self._prepared[kind] = all_of_it, given, OPERATORS[kind[0]].prepare(given)
        known, given, own = self._prepared[kind]
        of_it = frozenset(number for number in acting if self._kind(number) == kind)
        here = {number: known.index(self._place[number]) for number in of_it}
        places = None
        if len(set(here.values())) > 1:
            places = self._table([here.get(number, 0) for number in range(len(self._shares))])
        else:
            (place,) = set(here.values())
            given, own = given[place], tuple(one[place] for one in own)
        acts = frozenset(number for number in of_it if self._edits[number].acts)
        return Part(OPERATORS[kind[0]], given, own, places, acts, alone=len(of_it) == len(acting))

    def _shifts(self, acting: Sequence[int]) -> bool | Tensor:
        kinds = {number: OPERATORS[edit.operator].is_shift for number, edit in self._edits.items()}
        if len({kinds[number] for number in acting}) > 1:
            return self._table([kinds.get(number, True) for number in range(len(self._shares))]).bool()
        return all(kinds[number] for number in acting)

    def _table(self, values: Sequence[int]) -> Tensor:
        """A value for each intervention, behind one for none [1 + interventions]."""
        return torch.tensor([0, *values], dtype=torch.int64, device=self._device)
