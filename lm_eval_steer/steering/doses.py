"""What a run's steering amounted to: the dose per block, how much of it the dtype kept, and how often it was applied.

The shift α·v is small beside a block's output h, and bfloat16 may round it away; this is measured on the run's own
positions, for each strength apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


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
        sums = self._sums[block] = self._sums[block].to(rows.device)
        sums.index_add_(1, index.to(rows.device), rows.double())

    def report(self) -> list[dict[str, dict[str, Any]]]:
        """For each strength, block -> means over its measured positions; blocks where nothing was steered are left out.

        Returns:
            positions: how many were measured.
            dose: mean of ‖α·v‖ / ‖h‖.
            survival: ⟨Δ, v⟩ / (α·‖v‖²) with Δ what was really added: 1 when the dtype kept all of it. None under
                `normalize`, where Δ is more than α·v.
        """
        found: list[dict[str, dict[str, Any]]] = [{} for _ in range(self._strengths)]
        for block, sums in self._sums.items():
            for number, (positions, ratio, kept, wanted) in enumerate(sums.T.tolist()):
                if positions:
                    survival = kept / wanted if wanted and self._pure else None
                    found[number][str(block)] = {
                        "positions": int(positions),
                        "dose": ratio / positions,
                        "survival": survival,
                    }
        return found
