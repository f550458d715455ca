"""Interventions as tests make them: without a plan, from directions and one strength."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lm_eval_steer.interventions.intervention import Edit, Intervention, intervene


def steering(
    directions: Mapping[int, np.ndarray] | np.ndarray,
    strength: float | Mapping[int, float],
    operator: str = "add",
    *,
    unit: str = "length",
    tokens: str = "all",
    site: str = "block",
) -> Intervention:
    """An intervention of one strength, or of one for each block.

    Args:
        directions: by block, or those of all blocks [blocks, hidden].
        strength: in all blocks, or by block.
        operator: of all blocks.
        unit: of the strengths.
        tokens: token rule.
        site: of all blocks.
    """
    by_block = directions if isinstance(directions, Mapping) else dict(enumerate(directions))
    strengths = strength if isinstance(strength, Mapping) else dict.fromkeys(by_block, strength)
    edits = [Edit(block, operator, direction, float(strengths[block]), site) for block, direction in by_block.items()]
    return intervene(edits, unit=unit, tokens=tokens)
