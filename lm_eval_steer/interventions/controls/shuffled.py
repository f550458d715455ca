"""`shuffled`: the vector's own directions, each in a wrong block."""

from __future__ import annotations

import numpy as np

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.controls.kind import Directions, Kind, length

SEED = 1
"""There is one `shuffled` control per set of blocks, so its derangement has a fixed seed."""


def shuffle(directions: Directions, seed: int | None = None) -> dict[int, np.ndarray]:
    """Every block gets another block's direction, brought to the length of its own; directions of zeros stay.

    Raises:
        SteeringError: with fewer than two blocks to permute.
    """
    lengths = {block: length(direction) for block, direction in directions.items()}
    blocks = sorted(block for block in directions if lengths[block])
    if len(blocks) < 2:
        raise SteeringError(
            f"control=shuffled permutes directions among blocks, but the number of blocks that are steered is "
            f"{len(blocks)}: steer 2 or more (layers=all), or use another control"
        )
    shuffled = dict(directions)
    for block, place in zip(blocks, derangement(len(blocks), SEED), strict=True):
        source = blocks[place]
        scale = lengths[block] / lengths[source]
        shuffled[block] = (directions[source].astype(np.float64) * scale).astype(np.float32)
    return shuffled


def derangement(n: int, seed: int) -> list[int]:
    """A permutation of range(n) that moves every index, each such permutation equally likely; n is 2 or more."""
    generator = np.random.default_rng(seed)
    while True:  # one try in e has no fixed point
        order = generator.permutation(n)
        if not (order == np.arange(n)).any():
            return [int(index) for index in order]


SHUFFLED = Kind(shuffle)
