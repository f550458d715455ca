"""Cosines of two vectors' directions beside chance: the paper's Figure 2."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lm_eval_steer.report.figures.style import BAND, BLACK, BLUE, VERMILLION, legend_below, new_figure
from lm_eval_steer.vectors.similarity import LEVEL, Cosines, Null, share_beyond

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def correlation(matrix: Cosines, null: Null, title: str = "") -> Figure:
    """Heatmap of all cosines of two vectors' directions; beside it their histogram over that of random directions, and,
    of two vectors of one model, the cosines of block l with block l."""
    title = title or f"Directions of {matrix.names[0]} against {matrix.names[1]}"
    by_block = matrix.same_space and bool(matrix.common)
    with new_figure(14.0 if by_block else 9.6, 4.5, title) as figure:
        left, right, *more = figure.subplots(1, 3 if by_block else 2, width_ratios=(1.1, 1, 1)[: 3 if by_block else 2])
        _heatmap(figure, left, matrix, null.quantile(LEVEL))
        _histogram(right, matrix, null)
        for axes in more:
            _by_block(axes, matrix, null.quantile(LEVEL))
        widest = max(matrix.widths)
        note = f"Compared are the first {matrix.width} of {widest} components." if matrix.width < widest else ""
        legend_below(figure, [right, *more], note)
    return figure


def _heatmap(figure: Figure, axes: Axes, matrix: Cosines, limit: float) -> None:
    from matplotlib.ticker import MaxNLocator

    image = axes.imshow(matrix.values, cmap="PuOr_r", vmin=-1, vmax=1, aspect="auto", interpolation="nearest")
    axes.spines[["top", "right"]].set_visible(True)
    for axis, layers, name in zip((axes.yaxis, axes.xaxis), matrix.layers, matrix.names, strict=True):
        axis.set_major_locator(MaxNLocator(8, integer=True))
        axis.set_major_formatter(_block_formatter(layers))
        axis.set_label_text(f"block of {name}")
    axes.set_title("1: same direction, 0: unrelated, \N{MINUS SIGN}1: opposite")
    bar = figure.colorbar(image, ax=axes, pad=0.02)
    bar.ax.axhspan(-limit, limit, facecolor="none", edgecolor=BLACK, hatch="////", linewidth=0.8)
    bar.set_label("cosine (hatched: chance)")


def _by_block(axes: Axes, matrix: Cosines, limit: float) -> None:
    """Cosines of block l with block l."""
    from matplotlib.ticker import MaxNLocator

    values = matrix.same_blocks()
    axes.axhspan(-limit, limit, **BAND, label=f"{100 * LEVEL:.0f} % of random directions")
    axes.axhline(0, color=BLACK, linewidth=0.8)
    axes.plot(matrix.common, values, color=BLUE, marker="o", label="block l with block l")
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    axes.set_xlabel("block")
    axes.set_ylabel("cosine of block l with block l")
    axes.set_ylim(min(-0.1, -1.1 * limit, float(values.min()) - 0.05), 1.05)
    axes.set_title(f"mean {values.mean():+.2f}, by chance 0")


def _block_formatter(layers: Sequence[int]) -> Any:
    from matplotlib.ticker import FuncFormatter

    def show(place: float, _: Any) -> str:
        return str(layers[int(place)]) if place == int(place) and 0 <= place < len(layers) else ""

    return FuncFormatter(show)


def _histogram(axes: Axes, matrix: Cosines, null: Null) -> None:
    values, limit = matrix.values.ravel(), null.quantile(LEVEL)
    reach = min(1.0, 1.08 * max(float(np.abs(values).max()), 2 * limit))
    edges = np.linspace(-reach, reach, 42)
    axes.hist(values, list(edges), color=BLUE, alpha=0.75, label=f"these {values.size} pairs")
    expected = null.expected(edges, values.size)
    axes.stairs(expected, edges, color=VERMILLION, linewidth=1.8, linestyle="--", label="random directions")
    for side in (-limit, limit):
        axes.axvline(side, color=BLACK, linewidth=1, linestyle=":")
    axes.plot(
        [], [], color=BLACK, linewidth=1, linestyle=":", label=f"{100 * LEVEL:.0f} % of random directions lie between"
    )
    axes.set_xlim(-reach, reach)
    axes.set_xlabel("cosine")
    axes.set_ylabel("pairs of blocks")
    share = 100 * share_beyond(matrix, null)
    axes.set_title(f"{share:.0f} % outside the dotted lines, by chance {100 - 100 * LEVEL:.0f} %")
