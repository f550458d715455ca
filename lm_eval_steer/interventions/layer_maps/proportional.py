"""`proportional`: each block of the child takes from the block at the same relative depth (arXiv 2504.08775)."""

from __future__ import annotations

from collections.abc import Sequence

from lm_eval_steer.interventions.layer_maps.layer_map import LayerMap


def proportional(parent_layers: Sequence[int], parent_blocks: int, child_blocks: int) -> dict[int, int]:
    """Block l of the child -> block floor(l · (n_p - 1) / (n_c - 1) + 1/2) of the parent, where that has a direction.

    So the first takes from the first and the last from the last. A child of one block takes from the first.
    """
    step = max(1, child_blocks - 1)
    nearest = {block: (2 * block * (parent_blocks - 1) + step) // (2 * step) for block in range(child_blocks)}
    known = set(parent_layers)
    return {block: source for block, source in nearest.items() if source in known}


PROPORTIONAL = LayerMap("blocks at the same relative depth", proportional)
