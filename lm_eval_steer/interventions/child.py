"""A SteeringVector in a child's space: what layer map and width map make of it, or as it stands; with a report."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.alpha_units import Scale
from lm_eval_steer.interventions.layer_maps import layer_map_of_a_run
from lm_eval_steer.interventions.layers import parse_layers
from lm_eval_steer.interventions.width_maps import plain_width_map
from lm_eval_steer.sites import DEFAULT, SITES, Place, place_of
from lm_eval_steer.text import span
from lm_eval_steer.vectors.identity import Identity
from lm_eval_steer.vectors.transferred import TOGETHER, parents_of
from lm_eval_steer.vectors.vector import SteeringVector

logger = logging.getLogger(f"lm_eval.{__name__}")  # lm_eval shows what the children of its own logger say


@dataclass(frozen=True, eq=False)
class ChildVector:
    """What is added to the child, per place.

    Attributes:
        directions: place in the child -> float32 [child hidden], or [heads, head_dim].
        sources: place in the child -> the vector's place that its direction comes from.
        report: what the log and the result file say about how it came there.
        scales: place in the child -> what strengths come to there; empty where they are lengths.
    """

    directions: dict[Place, np.ndarray]
    sources: dict[Place, Place]
    report: dict[str, Any]
    scales: dict[Place, Scale] = field(default_factory=dict)


def into_child(
    vector: SteeringVector,
    blocks: int,
    width: int,
    *,
    layers: Any,
    layer_map: str,
    width_map: str,
    sites: Sequence[str] = (DEFAULT,),
) -> ChildVector:
    """Bring `vector` into a child of `blocks` blocks and hidden size `width`.

    Directions that were transferred lie in the child's space already: they are taken as they stand, and the maps are
    those of their passport.

    Args:
        vector: the parent's, or one that was transferred to this child.
        blocks: how many blocks the child has.
        width: its hidden size.
        layers: its blocks to steer, as the argument of that name.
        layer_map: as the argument of that name.
        width_map: as the argument of that name.
        sites: of the child to steer.

    Raises:
        SteeringError: when `layers` names a block without a direction, when nothing is steered, and for maps that a run
            cannot make.
    """
    as_it_stands = vector.transfer is not None
    parent = vector.passport["parent"]
    if as_it_stands:
        sources = {one: one for one in vector.layers}
        there = f"blocks {span(vector.layers)} only"
    else:
        over, sources_of = layer_map_of_a_run(layer_map)
        layer_map = over.text
        sources = dict(sorted(sources_of(vector.layers, parent["num_blocks"], blocks).items()))
        there = f"the parent's blocks {span(vector.layers)} only and the layer map is {layer_map} ({over.entry.words})"
    chosen = parse_layers(layers, blocks)
    if chosen is not None:
        missing = [layer for layer in chosen if layer not in sources]
        if missing:
            raise SteeringError(
                f"layers={layers!r} names block {missing[0]}, but the vector has directions for {there}"
            )
        sources = {layer: sources[layer] for layer in chosen}
    if not sources:
        raise SteeringError(f"the vector has directions for {there}, which gives a child of {blocks} blocks none")
    rows = dict(zip(vector.layers, vector.directions, strict=True))
    lengths = dict.fromkeys(rows, 1.0) if vector.lengths is None else dict(zip(rows, vector.lengths, strict=True))
    fit = _as_it_stands if as_it_stands else plain_width_map(width_map)
    read = {site: read_at(vector, site) for site in sites}
    directions = {
        place_of(site, block): (lengths[source] * fit(rows[source], width)).astype(np.float32)
        for site in sites
        for block, source in sources.items()
    }
    parents = parents_of(vector.passport)
    report = {
        "parent": TOGETHER.join(one["name"] for one in parents),
        "parent_blocks": _one_or_all([one["num_blocks"] for one in parents]),
        "parent_hidden_size": _one_or_all([one["hidden_size"] for one in parents]),
        "child_blocks": blocks,
        "child_hidden_size": width,
        "layer_map": layer_map,
        "width_map": width_map,
        "steered_blocks": list(sources),
    }
    if tuple(sites) != (DEFAULT,):
        report["sites"] = read
    return ChildVector(
        directions,
        {place_of(site, block): place_of(read[site], source) for site in sites for block, source in sources.items()},
        report | ({"transferred": True} if as_it_stands else {}),
    )


def read_at(vector: SteeringVector, site: str) -> str:
    """The site of a vector whose directions steer a site: the same, or the only one of the residual stream.

    Raises:
        SteeringError: where the vector has none of them, or several.
    """
    if site in vector.sites:
        return site
    there = [one for one in vector.sites if SITES[one].in_stream] if SITES[site].in_stream else []
    if len(there) == 1:
        return there[0]
    needs = "[heads, head_dim] of each block" if SITES[site].by_head else f"of {SITES[site].words}"
    raise SteeringError(
        f"site={site} takes directions {needs}, and the vector has those of {', '.join(vector.sites)}: extract one "
        f"with --site {site}"
    )


def refuse_other_child(transfer: Mapping[str, Any], blocks: int, width: int, model: Identity, allow: bool) -> None:
    """Refuse a vector that was transferred to another model than the one that is to be steered.

    Args:
        transfer: of the vector's passport.
        blocks: how many blocks the model has.
        width: its hidden size.
        model: what is known of it.
        allow: whether another model of the same architecture, width and depth may pass.

    Raises:
        SteeringError: names both.
    """
    said = transfer["child"]
    child, same_shape = Identity.of(said), (said["num_blocks"], said["hidden_size"]) == (blocks, width)
    if same_shape and child.is_same(model):
        return
    both = (
        f"the vector was transferred to {child.told(said['num_blocks'], said['hidden_size'])}, and this model is "
        f"{model.told(blocks, width)}"
    )
    known = None not in (child.architecture, model.architecture)
    alike = same_shape and (not known or child.architecture == model.architecture)
    if alike and allow:
        logger.warning("%s: taken as it stands, since allow_other_child=True", both)
        return
    advice = ", or set allow_other_child=True (the result file says so)" if alike else ""
    raise SteeringError(f"{both}: transfer it to this model with lm-eval-steer transfer{advice}")


def _as_it_stands(direction: np.ndarray, width: int) -> np.ndarray:
    """A direction that is in the child's space already."""
    return direction


def _one_or_all(values: list[Any]) -> Any:
    """What the only parent has, or what each has."""
    return values[0] if len(values) == 1 else values
