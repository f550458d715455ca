"""What each strength of a sweep brings on validation rows, over what it costs on unrelated text."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lm_eval_steer.compare.arms import Arm
from lm_eval_steer.compare.rows import Row
from lm_eval_steer.compare.sweeps import Part
from lm_eval_steer.compare.text_costs import TextCost
from lm_eval_steer.report.figures import style
from lm_eval_steer.report.figures.results import FigureKind, Picture, Results
from lm_eval_steer.report.tables.flat import is_share

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_CAPTION = (
    "A point is a strength: the change of the score on the validation rows, over the rise of the negative "
    "log-likelihood of unrelated text with its 95 % interval: the further left, the cheaper. Rings: the strengths that "
    "were chosen; what they are worth is what the test says."
)
_LINEAR = 0.1
"""Nats per token about 0 within which the axis of costs is linear; logarithmic beyond."""


@dataclass(frozen=True)
class Tradeoff:
    """A vector or a control of a sweep.

    Attributes:
        panel: what people call the child, and the sweep where there are several.
        name: what people call the contender.
        points: (strength, change of the score, cost), strengths ascending.
        chosen: the strength that the sweep chose; None where it chose none.
        unit: of the changes, as the axis names it.
        control: kind of the control, `random`, ...; empty for a vector.
    """

    panel: str
    name: str
    points: tuple[tuple[float, float, TextCost], ...]
    chosen: float | None
    unit: str
    control: str = ""


def find(results: Results) -> list[Picture] | str:
    """A panel per child and sweep, a curve per vector and control."""
    sweeps: dict[tuple[str, Path], list[Row]] = {}
    for row in results.rows:
        if row.any_part and row.any_part.costs and row.of_group is None and not row.any_run.by_task:
            sweeps.setdefault((results.child(row), row.any_part.folder), []).append(row)
    of_child = Counter(child for child, _ in sweeps)
    found = [
        one
        for (child, folder), rows in sweeps.items()
        for one in _of_sweep(child if of_child[child] == 1 else f"{child} ({folder.name})", rows)
    ]
    if not found:
        return "no effect by cost, for that takes a sweep with --cost."
    title = results.title("effect by cost")
    return [Picture(title, _CAPTION, partial(effect_by_cost, found, title))]


def _of_sweep(panel: str, rows: Sequence[Row]) -> Iterator[Tradeoff]:
    share = all(map(is_share, rows))
    places: dict[str, tuple[Arm, Part]] = {}
    for row in rows:
        for part in row.parts.values():
            places.setdefault(part.arm.contender, (part.arm, part))
    for name, (arm, part) in places.items():
        scores = {float(alpha): score for alpha, score in part.validation["scores"].get(name, {}).items()}
        every = part.validation["scores"].values()
        plain = next((found["0"] for found in every if found.get("0") is not None), None)
        costs = {float(alpha): TextCost.read(told) for alpha, told in part.costs.get(name, {}).items()}
        points = [
            (alpha, (100 if share else 1) * (score - plain), cost)
            for alpha, score in sorted(scores.items())
            if plain is not None and score is not None and (cost := costs.get(alpha)) and cost.value is not None
        ]
        if points:
            metric = str(part.validation.get("metric") or rows[0].any_run.metric).split(",")[0]
            unit = f"change of {metric}, points" if share else f"change of {metric}"
            yield Tradeoff(panel, name, tuple(points), part.validation["best"].get(name), unit, arm.control or "")


def effect_by_cost(curves: Sequence[Tradeoff], title: str = "Effect by cost") -> Figure:
    """Changes of the score over costs in nats per token: a panel per child and sweep, a curve per vector and control.

    Raises:
        SteeringError: for no curves, and for one without points.
    """
    style.need_some(curves, "curves")
    panels: dict[str, list[Tradeoff]] = style.groups(curves, lambda curve: curve.panel)
    looks = dict(zip(dict.fromkeys(one.name for one in curves if not one.control), cycle(style.SERIES), strict=False))
    with style.new_figure(max(6.2, 4.2 * len(panels)), 4.6, title) as figure:
        (grid,) = figure.subplots(1, len(panels), squeeze=False)
        for axes, (panel, found) in zip(grid, panels.items(), strict=True):
            for place in (axes.axhline, axes.axvline):
                place(0, color=style.GREY, linewidth=0.8, linestyle=":")
            seeds = Counter(one.control for one in found)
            for one in found:
                style.need_some(one.points, f"points of {one.name}")
                label = style.arm_label(one.control, seeds[one.control]) if one.control else one.name
                look = {key: value for key, value in looks.get(one.name, {}).items() if key != "hatch"}
                _draw(axes, one, label, look or style.line_look(one.control) | {"color": style.GREY})
            axes.set_xscale("symlog", linthresh=_LINEAR)
            style.number_log_scale(axes.xaxis, lambda value: f"{value:g}")
            axes.grid(axis="both")
            axes.set_title(panel)
            axes.set_xlabel("cost on unrelated text, nats per token")
            axes.set_ylabel(found[0].unit)
        style.legend_below(figure, grid, "Bars: 95 % intervals of the cost. Rings: chosen.")
    return figure


def _draw(axes: Axes, one: Tradeoff, label: str, look: dict[str, Any]) -> None:
    above, wide = (2.0, 0.9) if one.control else (3.0, 1.6)
    costs = [math.nan if cost.value is None else cost.value for _, _, cost in one.points]
    changes = [change for _, change, _ in one.points]
    for _, change, cost in one.points:
        if cost.low is not None and cost.high is not None:
            axes.hlines(change, cost.low, cost.high, color=look["color"], linewidth=0.8, alpha=0.6, zorder=above - 1)
    axes.plot(costs, changes, **look, linewidth=wide, label=label, zorder=above)
    for (alpha, change, _), value in zip(one.points, costs, strict=True):
        if alpha == one.chosen:
            axes.scatter([value], [change], 90, facecolors="none", edgecolors=look["color"], zorder=above)


EFFECT_BY_COST = FigureKind("a sweep with `--cost`", find, by_pair=True)
