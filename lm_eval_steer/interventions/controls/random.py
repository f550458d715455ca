"""`random:N`: another direction of the same length in every block, drawn with seed N."""

from __future__ import annotations

import numpy as np

from lm_eval_steer.interventions.controls.kind import Directions, Kind, length


def draw(directions: Directions, seed: int | None) -> dict[int, np.ndarray]:
    """Directions uniform on the sphere of the child's width, each of the length of the one in its place.

    There is one stream per (seed, block), so a block's direction is the same whichever other blocks are steered. A
    direction of zeros stays one.
    """
    return {block: _draw(direction, seed, block) for block, direction in directions.items()}


def _draw(direction: np.ndarray, seed: int | None, block: int) -> np.ndarray:
    # A normal draw divided by its length is uniform on the sphere. A spawn key keeps (seed, 0) apart from plain seed.
    generator = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(block,)))
    drawn = generator.standard_normal(direction.shape)
    return (drawn * (length(direction) / np.linalg.norm(drawn))).astype(np.float32)


RANDOM = Kind(draw, seeded=True, shared=True)
