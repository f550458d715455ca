"""What a run's strengths amounted to, block by block."""

from __future__ import annotations

from dataclasses import dataclass

from lm_eval_steer.compare.runs import Run


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
    """Of all strengths but 0; none for a control, and for strengths that differ by block."""
    if run.steering.get("control") or run.steering.get("alpha_per_layer"):
        return []
    return [
        BlockDose(float(alpha), int(block), told["dose"], told.get("survival"))
        for alpha, blocks in (run.steering.get("doses") or {}).items()
        for block, told in blocks.items()
        if float(alpha)
    ]
