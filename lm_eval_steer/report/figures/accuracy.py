"""Accuracy over the strengths (the paper's Figure 3), which is drawn of validation rows and of test documents."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from lm_eval_steer.compare.counts import Count
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.alphas import alpha_name
from lm_eval_steer.report.figures import style
from lm_eval_steer.report.figures.results import Picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_UNITS = {"alpha": "strength α (length of the shift)", "dose": "dose (shift as a share of ‖h‖)"}


@dataclass(frozen=True)
class Curve:
    """One arm over its strengths.

    Attributes:
        child: name of the child, a row of panels.
        parent: name of the parent, a column of panels.
        points: strength -> its count.
        baseline: of the same child on the same documents, unsteered.
        control: its kind, `random`, `shuffled`, ...; empty for the vector itself.
        unit: of the strengths, `alpha` or `dose`.
    """

    child: str
    parent: str
    points: dict[float, Count]
    baseline: Count
    control: str = ""
    unit: str = "alpha"


def pictures(curves: Iterable[Curve], title: str, caption: str) -> list[Picture]:
    """A picture per unit of strengths."""
    return [
        Picture(title, caption, partial(alpha_accuracy, found, title))
        for found in style.groups(curves, lambda curve: curve.unit).values()
    ]


def alpha_accuracy(curves: Sequence[Curve], title: str = "Accuracy by strength of steering") -> Figure:
    """Accuracy over α with 95 % Wilson bands: a row of panels per child, a column per parent, a line per arm.

    The baseline is a horizontal band. The axis of α, or of the dose where that is the unit of the curves, is
    logarithmic; where some strengths are 0 or negative, symmetric about 0.

    Raises:
        SteeringError: for no curves, a curve without points, and baselines that differ within a panel.
    """
    style.need_some(curves, "curves")
    panels = style.groups(curves, lambda curve: (curve.child, curve.parent))
    children, parents = (list(dict.fromkeys(names)) for names in zip(*panels, strict=True))
    width, height = max(6.2, 3.4 * len(parents)), 1.6 + 2.6 * len(children)
    with style.new_figure(width, height, title) as figure:
        grid = figure.subplots(len(children), len(parents), sharex=True, sharey="row", squeeze=False)
        places = {(child, parent): (children.index(child), parents.index(parent)) for child, parent in panels}
        for axes in grid.flat:
            axes.axis("off")
        for (child, parent), (row, column) in places.items():
            axes = grid[row, column]
            axes.axis("on")
            _draw_panel(axes, panels[child, parent])
            axes.set_title(f"{child}\nvector from {parent}")
            if column == min(other for one, other in places.values() if one == row):
                axes.set_ylabel("accuracy (%)")
                axes.tick_params(labelleft=True)
            if row == max(one for one, other in places.values() if other == column):
                axes.set_xlabel(_UNITS[curves[0].unit])
                axes.tick_params(labelbottom=True)
        _scale(grid[0, 0], [alpha for curve in curves for alpha in curve.points])
        style.legend_below(figure, [grid[place] for place in places.values()], "Bands: 95 % intervals (Wilson).")
    return figure


def _draw_panel(axes: Axes, curves: list[Curve]) -> None:
    baselines = list(dict.fromkeys(curve.baseline for curve in curves))
    if len(baselines) > 1:
        told = " and ".join(f"{one.correct} of {one.n}" for one in baselines[:2])
        raise SteeringError(
            f"{curves[0].child} has baselines of {told} right: draw curves of the same documents together only"
        )
    (baseline,) = baselines
    axes.axhspan(*style.percent(baseline.interval), **style.BAND)
    axes.axhline(100 * baseline.share, color=style.BLACK, linewidth=1, label=f"unsteered ({baseline.n} documents)")
    seeds = Counter(curve.control for curve in curves)
    for curve in curves:
        style.need_some(curve.points, f"points of {curve.child} steered by {curve.parent}")
        alphas = sorted(curve.points)
        lows, highs = zip(*(style.percent(curve.points[alpha].interval) for alpha in alphas), strict=True)
        look = style.line_look(curve.control)
        crowd = seeds[curve.control] if curve.control else 1  # bands of several seeds add up to one
        above, shade, wide = (2.0, 0.1, 1.2 if crowd == 1 else 0.8) if curve.control else (3.0, 0.25, 1.8)
        axes.fill_between(alphas, lows, highs, color=look["color"], alpha=shade / crowd, linewidth=0, zorder=above - 1)
        shares = style.percent(curve.points[alpha].share for alpha in alphas)
        size = 4.5 if crowd == 1 else 3
        label = style.arm_label(curve.control, crowd)
        axes.plot(alphas, shares, **look, linewidth=wide, markersize=size, label=label, zorder=above)
    axes.grid(axis="y")


def _scale(axes: Axes, alphas: Iterable[float]) -> None:
    given = sorted(alphas)
    if given[0] > 0:
        axes.set_xscale("log")
    else:
        axes.set_xscale("symlog", linthresh=min((abs(alpha) for alpha in given if alpha), default=1.0))
    style.number_log_scale(axes.xaxis, lambda value: alpha_name(float(f"{value:.6g}")))
