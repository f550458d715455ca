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

Sums = dict[int, list[list[float]]]
"""Block -> [4, strengths]: positions, ‖α·v‖ / ‖h‖, ⟨Δ, v⟩ and α·‖v‖² (see `report`), summed over the positions."""


def to_double(values: Tensor) -> Tensor:
    """Values as float64; in the CPU's memory where they are on an Apple GPU (`mps`), which has no such numbers."""
    return (values.cpu() if values.device.type == "mps" else values).double()


class Doses:
    """Running sums of one run, per strength and block.

    Args:
        strengths: how many strengths the run has.
        blocks: the steered blocks.
        pure: whether nothing but α·v is added.
    """

    def __init__(self, strengths: int, blocks: Sequence[int], pure: bool = True) -> None:
        self._strengths, self._pure = strengths, pure
        self._sums = {block: torch.zeros(4, strengths, dtype=torch.float64) for block in blocks}

    def add(
        self, block: int, index: Tensor, strength: Tensor, before: Tensor, after: Tensor, direction: Tensor
    ) -> None:
        """Add one pass.

        Args:
            block: which block.
            index: number of each row's strength [rows].
            strength: length of the shift per row and position, 0 where nothing is steered [rows, positions, 1].
            before: block output [rows, positions, hidden].
            after: what it became, in the model's dtype [rows, positions, hidden].
            direction: v [hidden], float32.
        """
        strength = strength[..., 0]
        wide = before.float()
        length = direction.norm()
        ratio = strength.abs() * length / wide.norm(dim=-1).clamp_min(torch.finfo(torch.float32).tiny)
        kept = ((after.float() - wide) @ direction) * (strength != 0)
        rows = torch.stack([(strength != 0).sum(1).float(), ratio.sum(1), kept.sum(1), (strength * length**2).sum(1)])
        wide_rows = to_double(rows)
        sums = self._sums[block] = self._sums[block].to(wide_rows.device)
        sums.index_add_(1, index.to(sums.device), wide_rows)

    def sums(self) -> Sums:
        """The sums so far."""
        return {block: sums.tolist() for block, sums in self._sums.items()}

    def report(self) -> list[dict[str, dict[str, Any]]]:
        """What the sums come to (`report`)."""
        return report(self.sums(), self._strengths, self._pure)


def add(parts: Iterable[Sums]) -> Sums:
    """The sums of several engines, each of which ran some of the rows."""
    found: dict[int, np.ndarray] = {}
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
        dose: mean of ‖α·v‖ / ‖h‖.
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
