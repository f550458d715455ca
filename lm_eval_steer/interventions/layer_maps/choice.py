"""One layer map as it is named: a name of the table, a list of blocks, as in `[0:0,5:3]`, or one for all, `only:3`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.layer_maps.layer_map import LayerMap, Sources
from lm_eval_steer.interventions.layer_maps.maps import LAYER_MAPS
from lm_eval_steer.text import quoted, span

_PAIR = re.compile(r"\s*([0-9]{1,9})\s*:\s*([0-9]{1,9})\s*")
_ONLY = re.compile(r"\s*only:([0-9]{1,9})\s*")


@dataclass(frozen=True)
class LayerMapChoice:
    """A layer map, checked.

    Attributes:
        name: in `LAYER_MAPS`; `list` for a list of blocks, `only` for one that serves all.
        entry: what stands there, or what the list says.
        blocks: of a list, block of the child, ascending -> block of the parent; None for the others.
        only: the block of the parent that serves all of the child's; None for the others.
    """

    name: str
    entry: LayerMap
    blocks: Mapping[int, int] | None = None
    only: int | None = None

    @property
    def text(self) -> str:
        """What `read_layer_map` reads back: one spelling, in brackets, which keep a list together in --model_args."""
        if self.only is not None:
            return f"only:{self.only}"
        if self.blocks is None:
            return self.name
        return f"[{','.join(f'{block}:{source}' for block, source in self.blocks.items())}]"

    @property
    def setting(self) -> dict[str, Any]:
        """For a passport, JSON-ready: `{"name": "list", "blocks": {"5": 3}}`, `{"name": "only", "block": 3}`."""
        if self.only is not None:
            return {"name": self.name, "block": self.only}
        blocks = {} if self.blocks is None else {"blocks": {str(block): s for block, s in self.blocks.items()}}
        return {"name": self.name} | blocks


def read_layer_map(text: Any) -> LayerMapChoice:
    """Read a layer map: a name of the table, CHILD:PARENT pairs of blocks, in brackets or without, or only:PARENT.

    Raises:
        SteeringError: for what is neither, and for a list that is empty or names a block of the child twice.
    """
    given = f"layer_map={quoted(text)}"
    if isinstance(text, str) and text in LAYER_MAPS:
        return LayerMapChoice(text, LAYER_MAPS[text])
    if isinstance(text, str) and (match := _ONLY.fullmatch(text)):
        block = int(match[1])
        return LayerMapChoice("only", LayerMap("one block for all", _only(block)), only=block)
    inner = text.strip() if isinstance(text, str) else ""
    if inner.startswith("[") and inner.endswith("]"):
        inner = inner[1:-1]
    pairs = [_PAIR.fullmatch(part) for part in inner.split(",")]
    if not all(pairs):
        raise SteeringError(
            f"{given} is not understood: use one of {', '.join(LAYER_MAPS)}, a list of CHILD:PARENT blocks, as in "
            "[0:0,5:3], or the one PARENT block that serves all, as in only:3"
        )
    numbers = sorted((int(pair[1]), int(pair[2])) for pair in pairs if pair)
    for (block, one), (following, other) in pairwise(numbers):
        if block == following:
            raise SteeringError(
                f"{given} gives block {block} of the child the directions of blocks {one} and {other} of the parent: "
                "name each block of the child once"
            )
    blocks = dict(numbers)
    return LayerMapChoice("list", LayerMap("the blocks of a list", _listed(blocks)), blocks)


def layer_map_of_a_run(text: Any) -> tuple[LayerMapChoice, Sources]:
    """A layer map for a run, which has no texts by which blocks could be compared; and its function.

    Raises:
        SteeringError: as `read_layer_map`; for one that compares states, with the command that uses it.
    """
    chosen = read_layer_map(text)
    if chosen.entry.sources is None:
        raise SteeringError(
            f"layer_map={chosen.text} compares states of parent and child on texts, which a run does not do: write a "
            f"vector for the child with `lm-eval-steer transfer VECTOR --layer_map {chosen.text} ...` and name that "
            "file"
        )
    return chosen, chosen.entry.sources


def _listed(blocks: Mapping[int, int]) -> Sources:
    """The sources that a list names; it is refused where a block is not there."""

    def sources(parent_layers: Sequence[int], parent_blocks: int, child_blocks: int) -> Mapping[int, int]:
        for block, source in blocks.items():
            if block >= child_blocks:
                raise SteeringError(
                    f"layer_map names block {block} of the child, which has blocks 0 to {child_blocks - 1}: leave "
                    f"{block}:{source} out"
                )
            if source not in parent_layers:
                raise SteeringError(
                    f"layer_map takes block {block} of the child from block {source} of the parent, but the vector has "
                    f"directions for the parent's blocks {span(parent_layers)} only: name one of these"
                )
        return blocks

    return sources


def _only(source: int) -> Sources:
    """The sources where one block serves all; it is refused where it is not there."""

    def sources(parent_layers: Sequence[int], parent_blocks: int, child_blocks: int) -> Mapping[int, int]:
        if source not in parent_layers:
            raise SteeringError(
                f"layer_map=only:{source} takes the directions of the parent's block {source}, and the vector has "
                f"those of {span(parent_layers)} only: name one of these"
            )
        return dict.fromkeys(range(child_blocks), source)

    return sources
