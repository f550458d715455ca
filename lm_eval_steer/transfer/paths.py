"""Which block of the child takes from which block of a parent: by their numbers, or by how alike their states are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.layer_maps import LayerMapChoice, debiased_cka
from lm_eval_steer.text import span
from lm_eval_steer.transfer.pairing import Aligned
from lm_eval_steer.vectors.vector import SteeringVector

Path = Mapping[int, int]
"""Block of the child, ascending -> block of a parent for which a vector has a direction."""

Numbers = Sequence[int] | np.ndarray
"""Of texts."""


def paths_by_number(
    choice: LayerMapChoice, vectors: Sequence[SteeringVector], child_blocks: int
) -> tuple[Path, ...] | None:
    """The path of each vector, over the child's blocks that all of them reach; None for a map that compares states.

    Raises:
        SteeringError: where they reach no block together, and for a list that names a block that is not there.
    """
    sources = choice.entry.sources
    if sources is None:
        return None
    found = [sources(one.layers, one.passport["parent"]["num_blocks"], child_blocks) for one in vectors]
    return _shared(choice, vectors, found)


def paths_by_similarity(
    choice: LayerMapChoice, vectors: Sequence[SteeringVector], similarities: Sequence[np.ndarray]
) -> tuple[Path, ...]:
    """The path of each vector among the blocks for which it has directions.

    Args:
        choice: a layer map that compares states.
        vectors: of the parents.
        similarities: of each vector's parent and the child [parent blocks, child blocks].

    Raises:
        SteeringError: where the paths reach no block of the child together.
    """
    along = choice.entry.path
    assert along is not None  # a layer map has sources or a path
    found = []
    for vector, values in zip(vectors, similarities, strict=True):
        rows = along(values[list(vector.layers)])
        found.append({block: vector.layers[row] for block, row in rows.items()})
    return _shared(choice, vectors, found)


def similarity(aligned: Aligned, texts: Numbers) -> np.ndarray:
    """How alike the states of every two blocks are on some texts: debiased linear CKA [parent blocks, child blocks]."""
    return debiased_cka(
        [partial(aligned.parent_rows, block, texts) for block in range(aligned.parent.blocks)],
        [partial(aligned.child_rows, block, texts) for block in range(aligned.child.blocks)],
    )


def _shared(
    choice: LayerMapChoice, vectors: Sequence[SteeringVector], found: Sequence[Mapping[int, int]]
) -> tuple[Path, ...]:
    """Paths over the blocks of the child that all of them have."""
    blocks = sorted(set(found[0]).intersection(*found[1:]))
    if not blocks:
        theirs = " and ".join(span(vector.layers) for vector in vectors)
        raise SteeringError(
            f"the layer map {choice.text} ({choice.entry.words}) takes no block of the child from the blocks {theirs} "
            "for which there are directions: use another --layer_map"
        )
    return tuple({block: one[block] for block in blocks} for one in found)
