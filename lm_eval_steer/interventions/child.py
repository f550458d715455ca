"""A parent's SteeringVector in the space of one child: the result of layer map and width map, with its report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.layer_maps import LAYER_MAPS
from lm_eval_steer.interventions.layers import parse_layers
from lm_eval_steer.interventions.width_maps import WIDTH_MAPS
from lm_eval_steer.text import span
from lm_eval_steer.vectors.vector import SteeringVector


@dataclass(frozen=True, eq=False)
class ChildVector:
    """What is added to the child, per block.

    Attributes:
        directions: child block, ascending -> float32 [child hidden].
        sources: child block -> the parent's block that its direction comes from.
        report: what the log and the result file say about the transfer.
    """

    directions: dict[int, np.ndarray]
    sources: dict[int, int]
    report: dict[str, Any]


def transfer(
    vector: SteeringVector, blocks: int, width: int, *, layers: Any, layer_map: str, width_map: str
) -> ChildVector:
    """Carry `vector` over to a child of `blocks` blocks and hidden size `width`.

    Args:
        vector: the parent's.
        blocks: how many blocks the child has.
        width: its hidden size.
        layers: its blocks to steer, as the argument of that name.
        layer_map: a name in `LAYER_MAPS`.
        width_map: a name in `WIDTH_MAPS`.

    Raises:
        SteeringError: when `layers` names a block for which the parent has no direction, or when nothing is steered.
    """
    parent = vector.passport["parent"]
    over = LAYER_MAPS[layer_map]
    sources = dict(sorted(over.sources(vector.layers, parent["num_blocks"], blocks).items()))
    chosen = parse_layers(layers, blocks)
    if chosen is not None:
        missing = [layer for layer in chosen if layer not in sources]
        if missing:
            raise SteeringError(
                f"layers={layers!r} names block {missing[0]}, but the vector has directions for the parent's blocks "
                f"{span(vector.layers)} only and the layer map is {layer_map} ({over.words})"
            )
        sources = {layer: sources[layer] for layer in chosen}
    if not sources:
        raise SteeringError(
            f"the vector has directions for the parent's blocks {span(vector.layers)}, "
            f"none of which exists in a child of {blocks} blocks"
        )
    fit = WIDTH_MAPS[width_map]
    row = {layer: i for i, layer in enumerate(vector.layers)}
    directions = {child: fit(vector.directions[row[source]], width) for child, source in sources.items()}
    report = {
        "parent": parent["name"],
        "parent_blocks": parent["num_blocks"],
        "parent_hidden_size": parent["hidden_size"],
        "child_blocks": blocks,
        "child_hidden_size": width,
        "layer_map": layer_map,
        "width_map": width_map,
        "steered_blocks": list(sources),
    }
    return ChildVector(directions, sources, report)
