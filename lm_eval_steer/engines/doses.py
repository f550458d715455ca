"""What a run's steering amounted to: the dose per block, how much of it the dtype kept, and how often it was applied.

The shift α·v is small beside a block's output h, and bfloat16 may round it away; this is measured on the run's own
positions, for each strength apart.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lm_eval_steer.engines import measured
from lm_eval_steer.interventions.intervention import Intervention
from lm_eval_steer.interventions.operators import OPERATORS
from lm_eval_steer.sites import Place

Sums = dict[Place, list[list[float]]]
"""Place -> [4, strengths]: positions, ‖Δ‖ / ‖h‖, ⟨Δ, v⟩ and α·‖v‖² (see `report`), summed over the positions."""


def to_double(values: Tensor) -> Tensor:
    """Values as float64; in the CPU's memory where they are on an Apple GPU (`mps`), which has no such numbers."""
    return (values.cpu() if values.device.type == "mps" else values).double()


class Doses:
    """Running sums of one run, per strength and block.

    Args:
        strengths: how many strengths the run has.
        places: what is steered.
        pure: whether nothing but α·v is added.
    """

    def __init__(self, strengths: int, places: Sequence[Place], pure: bool = True) -> None:
        self._strengths, self._pure = strengths, pure
        self._sums = {place: torch.zeros(4, strengths, dtype=torch.float64) for place in places}

    def add(
        self,
        place: Place,
        index: Tensor,
        strength: Tensor,
        before: Tensor,
        after: Tensor,
        direction: Tensor,
        steered: Tensor | None = None,
        shifts: bool | Tensor = True,
    ) -> None:
        """Add one pass.

        Args:
            place: where.
            index: number of each row's intervention [rows].
            strength: length of the shift per row and position, in lengths of v [rows, positions, 1].
            before: block output [rows, positions, hidden].
            after: what it became, in the model's dtype [rows, positions, hidden].
            direction: v [hidden], or one per row [rows, 1, hidden], float32.
            steered: bool [rows, positions, 1]; by default wherever the strength is not 0.
            shifts: whether the operators of all rows are shifts, or which rows' are [rows, 1, 1]. What others do to h
                is measured on what it became.

        With heads all of these have an axis of heads before the last one; they are measured together.
        """
        if before.dim() == 4:
            direction = (strength * direction).flatten(-2)  # [rows, positions, heads x head_dim]
            before, after = before.flatten(-2), after.flatten(-2)
            steered = steered if steered is None else steered[..., 0]
            shifts = shifts if isinstance(shifts, bool) else shifts[..., 0]
            strength = torch.ones_like(direction[..., :1])
        steered = strength != 0 if steered is None else steered
        wide = before.float()
        length = direction.norm(dim=-1, keepdim=True)
        norm = wide.norm(dim=-1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)
        shift = after.float() - wide
        if direction.dim() == 1:
            along = (shift @ direction)[..., None]
        else:
            along = shift @ direction.mT if direction.shape[1] == 1 else (shift * direction).sum(dim=-1, keepdim=True)
        moved = strength.abs() * length
        if shifts is not True:
            moved = torch.where(torch.as_tensor(shifts, device=moved.device), moved, shift.norm(dim=-1, keepdim=True))
        values = (steered, moved / norm, along, strength * length**2)
        rows = torch.stack([torch.where(steered, one, 0.0).sum(dim=(1, 2)) for one in values])
        wide_rows = to_double(rows)
        sums = self._sums[place] = self._sums[place].to(wide_rows.device)
        sums.index_add_(1, index.to(sums.device), wide_rows)

    def sums(self) -> Sums:
        """The sums so far."""
        return {block: sums.tolist() for block, sums in self._sums.items()}

    def report(self) -> list[dict[str, dict[str, Any]]]:
        """What the sums come to (`report`)."""
        return report(self.sums(), self._strengths, self._pure)


def by_fingerprint(sums: Sums, interventions: Sequence[Intervention]) -> dict[str, measured.Sums]:
    """Sums of an engine, of each intervention that was measured; `report_one` says what they come to."""
    found: dict[str, measured.Sums] = {}
    for block, of_block in sums.items():
        for one, columns in zip(interventions, zip(*of_block, strict=True), strict=True):
            if columns[0]:
                found.setdefault(one.fingerprint, {})[block] = list(columns)
    return found


def report_one(sums: measured.Sums, one: Intervention) -> dict[str, dict[str, Any]]:
    """Block -> means over the measured positions of one intervention.

    Left out are blocks whose outputs a shift made infinite.

    Args:
        sums: of the intervention.
        one: the intervention.

    Returns:
        positions: how many were measured.
        dose: mean of ‖Δ‖ / ‖h‖: of a shift ‖α·v‖ / ‖h‖, of another operator what was really done to h.
        survival: ⟨Δ, v⟩ / (α·‖v‖²) with Δ what was really added: 1 when the dtype kept all of it. None where the
            operator does more than to shift.
    """
    shifts = {edit.place for edit in one.edits if OPERATORS[edit.operator].is_shift}
    found = {}
    for block, (count, ratio, kept, wanted) in sums.items():
        if count and math.isfinite(ratio):
            survival = kept / wanted if wanted and block in shifts and math.isfinite(kept / wanted) else None
            found[str(block)] = {"positions": int(count), "dose": ratio / count, "survival": survival}
    return found


def add(parts: Iterable[Sums]) -> Sums:
    """The sums of several engines, each of which ran some of the rows."""
    found: dict[Place, np.ndarray] = {}
    for part in parts:
        for block, sums in part.items():
            found[block] = found.get(block, 0) + np.asarray(sums)
    return {block: sums.tolist() for block, sums in found.items()}


def report(sums: Sums, strengths: int, pure: bool) -> list[dict[str, dict[str, Any]]]:
    """For each strength, block -> means over its measured positions.

    Left out are blocks where nothing was steered, and those whose outputs a shift made infinite.

    Args:
        sums: per block.
        strengths: how many there are.
        pure: whether nothing but α·v is added.

    Returns:
        positions: how many were measured.
        dose: mean of ‖Δ‖ / ‖h‖: of a shift ‖α·v‖ / ‖h‖, of another operator what was really done to h.
        survival: ⟨Δ, v⟩ / (α·‖v‖²) with Δ what was really added: 1 when the dtype kept all of it. None under
            `normalize`, where Δ is more than α·v.
    """
    found: list[dict[str, dict[str, Any]]] = [{} for _ in range(strengths)]
    for block, of_block in sums.items():
        for of_strength, (count, ratio, kept, wanted) in zip(found, zip(*of_block, strict=True), strict=True):
            if count and math.isfinite(ratio):
                survival = kept / wanted if wanted and pure and math.isfinite(kept / wanted) else None
                of_strength[str(block)] = {"positions": int(count), "dose": ratio / count, "survival": survival}
    return found
