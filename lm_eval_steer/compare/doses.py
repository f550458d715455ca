"""What a run's strengths amounted to, block by block."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from lm_eval_steer.compare.run import Run


@dataclass(frozen=True)
class BlockDose:
    """What one strength was in one block: a record of `steering.doses` in a result file.

    Attributes:
        alpha: strength.
        block: the child's block.
        dose: mean ‖α·v‖ / ‖h‖.
        survival: share of the shift that the dtype kept; None where that is unknown.
    """

    alpha: float
    block: int
    dose: float
    survival: float | None = None


def block_doses(run: Run) -> list[BlockDose]:
    """Of all strengths but 0, at outputs of blocks; none for a control, and for strengths that differ by block."""
    if run.control or run.steering.get("alpha_per_layer"):
        return []
    return [
        BlockDose(float(alpha), int(block), told["dose"], told.get("survival"))
        for alpha, blocks in (run.steering.get("doses") or {}).items()
        for block, told in blocks.items()
        if float(alpha) and block.isdecimal()  # not of another site, as `mlp.3`
    ]


def sum_up_doses(blocks: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """`steering.doses` of one strength, over the blocks."""
    shares = [block["dose"] for block in blocks.values()]
    survivals = [block["survival"] for block in blocks.values() if block.get("survival") is not None]
    return {
        "blocks": len(blocks),
        "positions": sum(block["positions"] for block in blocks.values()),
        "dose_mean": fmean(shares),
        "dose_most": max(shares),
        "survival_least": min(survivals, default=None),
    }
