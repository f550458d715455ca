"""Accuracy over the strengths: the paper's Figure 3."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.alphas import alpha_name
from lm_eval_steer.report.figures._data import Curve
from lm_eval_steer.report.figures._style import (
    BLACK,
    arm_label,
    arm_look,
    groups,
    legend_below,
    need_some,
    new_figure,
    percent,
    styled,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_UNITS = {"alpha": "strength α (length of the shift)", "dose": "dose (shift as a share of ‖h‖)"}


def alpha_accuracy(
    curves: Sequence[Curve], title: str = "Accuracy by strength of steering", unit: str = "alpha"
) -> Figure:
    """Accuracy over α with 95 % Wilson bands: a row of panels per child, a column per parent, a line per arm.

    The baseline is a horizontal band. The axis of α, or of the dose where that is the `unit`, is logarithmic; where
    some are 0 or negative, symmetric about 0.

    Raises:
        SteeringError: for no curves, a curve without points, and baselines that differ within a panel.
    """
    need_some(curves, "curves")
    panels = groups(curves, lambda curve: (curve.child, curve.parent))
    children = list(groups(curves, lambda curve: curve.child))
    parents = list(groups(curves, lambda curve: curve.parent))
    with styled():
        figure = new_figure(max(6.2, 3.4 * len(parents)), 1.6 + 2.6 * len(children))
        grid = figure.subplots(len(children), len(parents), sharex=True, sharey="row", squeeze=False)
        places = [(row, column) for row in range(len(children)) for column in range(len(parents))]
        drawn = [(row, column) for row, column in places if (children[row], parents[column]) in panels]
        for row, column in drawn:
            axes, child, parent = grid[row, column], children[row], parents[column]
            _alpha_panel(axes, panels[child, parent])
            axes.set_title(f"{child}\nvector from {parent}")
            if column == min(other for one, other in drawn if one == row):
                axes.set_ylabel("accuracy (%)")
                axes.tick_params(labelleft=True)
            if row == max(one for one, other in drawn if other == column):
                axes.set_xlabel(_UNITS[unit])
                axes.tick_params(labelbottom=True)
        for place in places:
            if place not in drawn:
                grid[place].axis("off")
        _alpha_axis(grid[0, 0], [alpha for curve in curves for alpha in curve.points])
        figure.suptitle(title)
        legend_below(figure, [grid[place] for place in drawn], "Bands: 95 % intervals (Wilson).")
    return figure


def _alpha_panel(axes: Axes, curves: list[Curve]) -> None:
    baselines = list(groups(curves, lambda curve: curve.baseline))
    if len(baselines) > 1:
        told = " and ".join(f"{one.correct} of {one.n}" for one in baselines[:2])
        raise SteeringError(
            f"{curves[0].child} has baselines of {told} right: draw curves of the same documents together only"
        )
    axes.axhspan(*percent(baselines[0].interval), facecolor="#E4E4E4", edgecolor="#BBBBBB", hatch="//", linewidth=0)
    axes.axhline(100 * baselines[0].share, color=BLACK, linewidth=1, label=f"unsteered ({baselines[0].n} documents)")
    seeds = sum(curve.control.startswith("random") for curve in curves)
    for curve in curves:
        need_some(curve.points, f"points of {curve.child} steered by {curve.parent}")
        alphas = sorted(curve.points)
        lows, highs = zip(*(percent(curve.points[alpha].interval) for alpha in alphas), strict=True)
        look = arm_look(curve.control)
        crowd = seeds if curve.control.startswith("random") else 1  # bands of several seeds add up to one
        above = 3.0 if not curve.control else 2.0
        shade = (0.1 if curve.control else 0.25) / crowd
        axes.fill_between(alphas, lows, highs, color=look["color"], alpha=shade, linewidth=0, zorder=above - 1)
        axes.plot(
            alphas,
            percent(curve.points[alpha].share for alpha in alphas),
            color=look["color"],
            marker=look["marker"],
            linestyle=look["linestyle"],
            linewidth=1.8 if not curve.control else 1.2 if crowd == 1 else 0.8,
            markersize=4.5 if crowd == 1 else 3,
            label=arm_label(curve.control, seeds),
            zorder=above,
        )
    axes.grid(axis="y")


def _alpha_axis(axes: Axes, alphas: Iterable[float]) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    given = sorted(alphas)
    if given[0] > 0:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    else:
        axes.set_xscale("symlog", linthresh=min((abs(alpha) for alpha in given if alpha), default=1.0))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: alpha_name(float(f"{value:.6g}"))))
    axes.xaxis.set_minor_formatter(NullFormatter())
