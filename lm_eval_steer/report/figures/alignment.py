"""How alike the blocks of parent and child are, and which way a layer map took through them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.report.figures.style import VERMILLION, legend_below, new_figure
from lm_eval_steer.vectors.transferred import as_list, map_name
from lm_eval_steer.vectors.vector import SteeringVector

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def alignment(similarity: np.ndarray, path: Mapping[int, int], names: tuple[str, str], layer_map: str) -> Figure:
    """Heatmap of the similarity of every block of the parent with every block of the child, and the path over it.

    Args:
        similarity: debiased linear CKA of the blocks' states on the same texts [parent blocks, child blocks].
        path: block of the child -> block of the parent that its direction comes from.
        names: of parent and child.
        layer_map: that took the path.
    """
    from matplotlib.ticker import MaxNLocator

    with new_figure(6.4, 5.2, f"Blocks of {names[0]} and of {names[1]}") as figure:
        axes = figure.subplots()
        low, high = min(0.0, float(similarity.min())), max(1.0, float(similarity.max()))
        image = axes.imshow(
            similarity, cmap="viridis", vmin=low, vmax=high, aspect="auto", interpolation="nearest", origin="lower"
        )
        axes.spines[["top", "right"]].set_visible(True)
        for axis, name in ((axes.yaxis, names[0]), (axes.xaxis, names[1])):
            axis.set_major_locator(MaxNLocator(8, integer=True))
            axis.set_label_text(f"block of {name}")
        look: dict[str, Any] = {"color": VERMILLION, "marker": "o", "markeredgecolor": "white", "linewidth": 1.2}
        axes.plot(list(path), list(path.values()), label=f"directions come from here ({layer_map})", **look)
        on_path = np.mean([similarity[source, block] for block, source in path.items()])
        axes.set_title(f"mean along the path {on_path:.2f}, over all pairs {similarity.mean():.2f}")
        figure.colorbar(image, ax=axes, pad=0.02).set_label("CKA of states on the same texts (1: alike)")
        legend_below(figure, [axes], "")
    return figure


def alignment_of(vector: SteeringVector) -> Figure:
    """The figure of a vector that was transferred, with the first of its parents.

    Raises:
        SteeringError: where its passport holds no similarities.
    """
    transfer = vector.transfer or {}
    if transfer.get("cka") is None:
        raise SteeringError(
            "the passport holds no similarities of parent and child blocks to draw: lm-eval-steer transfer --layer_map "
            "cka writes them"
        )
    path = {one["block"]: as_list(one["source"])[0] for one in transfer["blocks"]}
    names = (vector.passport["parent"]["name"], transfer["child"]["name"])
    return alignment(np.array(transfer["cka"], dtype=np.float64), path, names, map_name(transfer["layer_map"]))
