"""How much of the effect of the child's own vector each arm of a sweep has, in every metric of the task."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from lm_eval_steer.compare.own import OfOwn
from lm_eval_steer.compare.rows import Row
from lm_eval_steer.report.figures import style
from lm_eval_steer.report.figures.results import FigureKind, Picture, Results
from lm_eval_steer.report.tables.beside import label

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_CAPTION = (
    "Effect of each arm divided by that of the arm own in the same role, on the same documents; 95 % intervals. 0: "
    "nothing was carried to the child; 100: all that its own vector does."
)


@dataclass(frozen=True)
class OwnShare:
    """An arm's share in one metric.

    Attributes:
        child: name of the child, a row of panels.
        metric: what people call it, a column of panels.
        arm: what people call it, a line of a panel.
        share: 1 for the effect of own.
        low: lower end of the 95 % interval.
        high: upper end.
        control: kind of the control, `random`, ...; empty for a vector.
    """

    child: str
    metric: str
    arm: str
    share: float
    low: float
    high: float
    control: str = ""


def find(results: Results) -> list[Picture] | str:
    """A panel per child and metric, where a sweep has a vector named own."""
    found = [one for row in results.rows for one in _of_row(results.child(row), row)]
    if not any(row.shares for row in results.rows):
        return "no share of own's effect, for that takes a sweep with --arms own=FILE,..."
    if not found:
        return "no share of own's effect, for own's may be 0 in every metric."
    title = results.title("share of own's effect")
    return [Picture(title, _CAPTION, partial(share_of_own, found, title))]


def _of_row(child: str, row: Row) -> Iterator[OwnShare]:
    """Of the arms of a row as its sweep calls them, several seeds of a control as one; what it shares is another's."""
    folded = {arm for runs in row.seeds.values() for arm in runs}
    for arm, shares in row.shares.items():
        if arm not in folded:
            name = row.parts[arm].arm.name if arm in row.parts else arm.name
            yield from _by_metric(child, row, name, shares, arm.control or "")
    for (arm, kind), shares in row.mean_shares.items():
        if (runs := row.seeds[arm, kind]).keys() <= row.runs.keys():
            part = row.parts.get(next(iter(runs)))
            of = f"{part.arm.vector} " if part and part.arm.vector else ""
            yield from _by_metric(child, row, f"{of}{kind} {arm.role}, {len(runs)} seeds", shares, kind)


def _by_metric(child: str, row: Row, arm: str, shares: dict[str, OfOwn], control: str) -> Iterator[OwnShare]:
    every = (row.any_run.metric, *row.metrics)
    for metric, found in shares.items():
        if found.share is not None and found.low is not None and found.high is not None:
            yield OwnShare(child, label(metric, every), arm, found.share, found.low, found.high, control)


def share_of_own(rows: Sequence[OwnShare], title: str = "Share of own's effect") -> Figure:
    """Shares in per cent with 95 % intervals: a panel per child and metric, a line per arm.

    Raises:
        SteeringError: for no rows.
    """
    style.need_some(rows, "rows")
    metrics = list(dict.fromkeys(row.metric for row in rows))
    by_child: dict[str, list[OwnShare]] = style.groups(rows, lambda row: row.child)
    children = {child: list(dict.fromkeys(row.arm for row in found)) for child, found in by_child.items()}
    heights = [0.6 + 0.3 * len(arms) for arms in children.values()]
    with style.new_figure(1.8 + 3.0 * len(metrics), 1.1 + sum(heights), title) as figure:
        grid = figure.subplots(len(children), len(metrics), squeeze=False, height_ratios=heights, sharex="col")
        for line, (child, arms) in enumerate(children.items()):
            for column, metric in enumerate(metrics):
                axes = grid[line][column]
                for row in rows:
                    if (row.child, row.metric) == (child, metric):
                        place, look = arms.index(row.arm), style.line_look(row.control)
                        ends = [100 * row.low, 100 * row.high]
                        axes.plot(ends, [place, place], color=style.BLACK, linewidth=1.2, marker="|", markersize=6)
                        axes.scatter(
                            [100 * row.share], [place], 40, color=look["color"], marker=look["marker"], zorder=3
                        )
                for whole in (0, 100):
                    axes.axvline(whole, color=style.GREY, linewidth=0.8, linestyle=":")
                axes.set_yticks(range(len(arms)), arms if column == 0 else [""] * len(arms))
                axes.set_ylim(len(arms) - 0.5, -0.5)
                axes.grid(axis="x")
                axes.set_title(f"{child}, {metric}" if len(children) > 1 else metric)
                if line == len(children) - 1:
                    axes.set_xlabel("% of own's effect")
    return figure


SHARE_OF_OWN = FigureKind("a sweep with a vector that `--arms` names `own`", find)
