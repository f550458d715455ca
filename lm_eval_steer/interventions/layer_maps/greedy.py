"""`greedy`, the paper's (Algorithm 2): block l of the parent goes to block l of the child, the rest is unsteered."""

from __future__ import annotations

from collections.abc import Sequence

from lm_eval_steer.interventions.layer_maps.layer_map import LayerMap


def greedy(parent_layers: Sequence[int], parent_blocks: int, child_blocks: int) -> dict[int, int]:
    """Block of the child -> the same block of the parent, where both have it."""
    return {layer: layer for layer in parent_layers if layer < min(parent_blocks, child_blocks)}


GREEDY = LayerMap("block l to block l", greedy)
