"""The directions of one site and what a passport says of them: block by block, and of heads head by head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.extraction.args import ExtractionArgs
from lm_eval_steer.extraction.capture import Captured
from lm_eval_steer.extraction.directions import Direction, find_direction

Statistics = list[dict[str, Any]]
"""Of each block, as a passport has them; with heads a field is a list with a number of each."""


def find_directions(
    captured: Captured, layers: Sequence[int], orders: np.ndarray, args: ExtractionArgs
) -> tuple[np.ndarray, Statistics]:
    """Directions float32 [blocks, hidden] or [blocks, heads, head_dim], each of length 1, and what is measured of them.

    Args:
        captured: of the site.
        layers: its blocks.
        orders: int [pairs] of +1 and -1 (`shuffle_orders`).
        args: method and whether differences are brought to length 1.
    """

    def find(differences: np.ndarray) -> Direction:
        return find_direction(differences, orders, args.method, args.normalize_differences)

    rows, statistics = [], []
    for place, layer in enumerate(tqdm(layers, desc="Finding directions", unit="block")):
        differences = captured.differences[:, place]
        if differences.ndim == 2:
            found = find(differences)
            rows.append(found.vector)
            said = {key: value for key, value in vars(found).items() if key != "vector"}
        else:
            heads = [find(differences[:, head]) for head in range(differences.shape[1])]
            rows.append(np.stack([head.vector for head in heads]))
            said = {key: [vars(head)[key] for head in heads] for key in vars(heads[0]) if key != "vector"}
        norm = captured.norms[place].astype(np.float64).tolist()
        measured = _measured(*captured.projections(place, rows[-1]))
        statistics.append({"block": int(layer), **said, "mean_norm": norm, **measured})
    return np.stack(rows), statistics


def best_heads(
    directions: np.ndarray, statistics: Statistics, count: int
) -> tuple[tuple[int, ...], np.ndarray, Statistics]:
    """The heads that tell most held-out pairs apart, over all blocks; of equals those of lower blocks and numbers.

    Args:
        directions: [blocks, heads, head_dim].
        statistics: of the blocks.
        count: how many to keep.

    Returns:
        blocks that have some, directions in which the others are zeros, and the statistics of these blocks.

    Raises:
        SteeringError: where there are fewer heads.
    """
    scores = np.array([block["held_out_separation"] for block in statistics])  # [blocks, heads]
    if count > scores.size:
        raise SteeringError(f"--heads {count} is more than the {scores.size} heads of the blocks that are read")
    best = np.argsort(-scores, axis=None, kind="stable")[:count]
    kept = np.zeros(scores.size, dtype=bool)
    kept[best] = True
    chosen = kept.reshape(scores.shape)
    some = np.flatnonzero(chosen.any(axis=1))
    layers = tuple(int(statistics[place]["block"]) for place in some)
    return layers, (directions * chosen[..., None])[some], [statistics[place] for place in some]


def _measured(negative: np.ndarray, positive: np.ndarray) -> dict[str, Any]:
    """What a passport says of ⟨h, v⟩ at one block, of which units of strength are made (interventions/alpha_units.py).

    Args:
        negative, positive: of each side of the pairs [pairs], or [pairs, heads].
    """
    both = np.concatenate([negative, positive])
    return {
        "projection_negative": negative.mean(axis=0).tolist(),
        "projection_positive": positive.mean(axis=0).tolist(),
        "projection_deviation": both.std(axis=0).tolist(),
    }
