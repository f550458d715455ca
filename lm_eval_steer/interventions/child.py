"""A SteeringVector in a child's space: what layer map and width map make of it, or as it stands; with a report."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.alpha_units import Scale
from lm_eval_steer.interventions.layer_maps import layer_map_of_a_run
from lm_eval_steer.interventions.layers import parse_layers
from lm_eval_steer.interventions.operators import OPERATORS
from lm_eval_steer.interventions.width_maps import plain_width_map
from lm_eval_steer.sites import DEFAULT, SITES, Place, place_of, split
from lm_eval_steer.text import span
from lm_eval_steer.vectors.identity import Identity
from lm_eval_steer.vectors.several import AnyVector
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
    vector: AnyVector,
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
    if not as_it_stands:
        layer_map = layer_map_of_a_run(layer_map)[0].text
    chosen = parse_layers(layers, blocks)
    if chosen is not None and not any(SITES[site].in_blocks for site in sites):
        raise SteeringError(f"layers={layers!r} names blocks, and {sites[0]} is behind all of them: leave layers out")
    directions: dict[Place, np.ndarray] = {}
    sources: dict[Place, Place] = {}
    read = {site: read_at(vector, site) for site in sites}
    for site, at in read.items():
        part = vector.at(at)
        # Heads of another width have no common meaning, as engines say.
        fit = _as_it_stands if as_it_stands or SITES[site].by_head else plain_width_map(width_map)
        rows = dict(zip(part.layers, part.directions, strict=True))
        lengths = dict(zip(rows, [1.0] * len(rows) if part.lengths is None else part.lengths, strict=True))
        from_block = _sources(part, blocks, layer_map, chosen, layers) if SITES[site].in_blocks else {0: 0}
        for block, source in from_block.items():
            directions[place_of(site, block)] = (lengths[source] * fit(rows[source], width)).astype(np.float32)
            sources[place_of(site, block)] = place_of(at, source)
    parents = parents_of(vector.passport)
    report = {
        "parent": TOGETHER.join(one["name"] for one in parents),
        "parent_blocks": _one_or_all([one["num_blocks"] for one in parents]),
        "parent_hidden_size": _one_or_all([one["hidden_size"] for one in parents]),
        "child_blocks": blocks,
        "child_hidden_size": width,
        "layer_map": layer_map,
        "width_map": width_map,
        "steered_blocks": sorted({block for site, block in map(split, sources) if SITES[site].in_blocks}),
    }
    if tuple(sites) != (DEFAULT,):
        report["sites"] = read
    return ChildVector(directions, sources, report | ({"transferred": True} if as_it_stands else {}))


def _sources(
    vector: SteeringVector, blocks: int, layer_map: str, chosen: Sequence[int] | None, given: Any
) -> dict[int, int]:
    """Block of the child -> block of the vector that its direction comes from.

    Args:
        vector: of one site.
        blocks: how many blocks the child has.
        layer_map: as the argument of that name.
        chosen: blocks of the child; None for all that there are directions for.
        given: what chose them, for sentences.
    """
    if vector.transfer is not None:
        sources = {one: one for one in vector.layers}
        there = f"blocks {span(vector.layers)} only"
    else:
        over, sources_of = layer_map_of_a_run(layer_map)
        sources = dict(sorted(sources_of(vector.layers, vector.passport["parent"]["num_blocks"], blocks).items()))
        there = f"the parent's blocks {span(vector.layers)} only and the layer map is {layer_map} ({over.entry.words})"
    if chosen is not None:
        missing = [layer for layer in chosen if layer not in sources]
        if missing:
            raise SteeringError(f"layers={given!r} names block {missing[0]}, but the vector has directions for {there}")
        sources = {layer: sources[layer] for layer in chosen}
    if not sources:
        raise SteeringError(f"the vector has directions for {there}, which gives a child of {blocks} blocks none")
    return sources


def in_unit(child: ChildVector, scales: Mapping[Place, Scale], operator: str) -> ChildVector:
    """A vector whose strengths count in a unit. Of heads each has its own step, which goes into its direction.

    Args:
        child: the vector in the child's space.
        scales: of its places.
        operator: that takes them.

    Raises:
        SteeringError: for directions that were read at another site than they steer, and for heads under an operator
            that sets a value, where each head would have its own.
    """
    for place, source in child.sources.items():
        site, read = split(place)[0], split(source)[0]
        if site != read:
            raise SteeringError(
                f"unit counts in what was measured at {read}, and site={site} is another place: leave unit out, or "
                f"extract a vector with --site {site}"
            )
    by_head = {place: one for place, one in scales.items() if SITES[split(place)[0]].by_head}
    if by_head and OPERATORS[operator].acts(0.0):
        raise SteeringError(
            f"operator={operator} sets a value, and in a unit of what was measured every head has another one: leave "
            "unit out"
        )
    directions = {
        place: (by_head[place].step * direction).astype(np.float32) if place in by_head else direction
        for place, direction in child.directions.items()
    }
    return replace(child, directions=directions, scales={p: one for p, one in scales.items() if p not in by_head})


def read_at(vector: AnyVector, site: str) -> str:
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
