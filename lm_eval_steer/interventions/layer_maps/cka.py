"""`cka`: the path through parent and child along which their blocks are most alike (arXiv 2606.16897)."""

from __future__ import annotations

import numpy as np

from lm_eval_steer.interventions.layer_maps.layer_map import LayerMap


def most_similar_path(similarity: np.ndarray) -> dict[int, int]:
    """Block of the child -> block of the parent, never falling, with the largest sum of similarities.

    By dynamic programming: the best path that ends at a block of the parent goes on from the best that ended at or
    before it. Of paths alike, the one of lower blocks is taken.

    Args:
        similarity: [parent blocks, child blocks].
    """
    parents, children = similarity.shape
    came_from = np.zeros((children, parents), dtype=int)
    best = similarity[:, 0].astype(np.float64)
    for child in range(1, children):
        highest = np.maximum.accumulate(best)
        fresh = np.r_[True, best[1:] > highest[:-1]]  # where a path ends that is better than all before it
        came_from[child] = np.maximum.accumulate(np.where(fresh, np.arange(parents), 0))
        best = highest + similarity[:, child]
    path = [int(best.argmax())]
    for child in range(children - 1, 0, -1):
        path.append(int(came_from[child, path[-1]]))
    return dict(enumerate(reversed(path)))


CKA = LayerMap("the path of the most similar blocks", path=most_similar_path)
