"""What a vote changes, relative to the baseline (the paper's Figure 1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.report.figures import style
from lm_eval_steer.report.figures.results import FigureKind, Picture, Results
from lm_eval_steer.report.tables.entries import bounds
from lm_eval_steer.report.tables.flat import is_share

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_CAPTION = (
    "Relative to the child without steering. A vote over the strengths of a random vector, or over unsteered "
    "samples, costs as much: what only the vector's vote gains is the concept's."
)


@dataclass(frozen=True)
class VoteChange:
    """The vote of one arm against its baseline.

    Attributes:
        child: name of the child, a group of bars.
        parent: name of the parent.
        baseline: accuracy of the child unsteered, 0 to 1.
        vote: accuracy of the vote.
        low: lower end of the 95 % interval of `vote` - `baseline`, paired by document.
        high: upper end.
        control: its kind, `random`, `shuffled`, ...; empty for the vector itself.
    """

    child: str
    parent: str
    baseline: float
    vote: float
    low: float
    high: float
    control: str = ""

    def __post_init__(self) -> None:
        if not self.baseline:
            raise SteeringError(
                f"{self.child} has a baseline of 0 %, and no change is a share of that: leave it out of this figure"
            )


def find(results: Results) -> list[Picture] | str:
    """A bar per vote of the vector and of its controls."""
    votes = [(row, arm, run) for row in results.rows for arm, run in row.runs.items() if len(run.alphas) > 1]
    judged = [(row, arm, run, row.changes[arm].verdict) for row, arm, run in votes if arm in row.changes]
    paired = [(row, arm, run, found) for row, arm, run, found in judged if found]
    changes = []
    for row, arm, run, found in paired:
        if row.baseline and is_share(row) and row.baseline.score:
            place = (results.child(row), results.parent(row))
            changes.append(VoteChange(*place, row.baseline.score, run.score, *bounds(row, found), arm.control or ""))
    if not votes:
        return "no change by vote, for that takes a sweep, or a run of a set with its baseline."
    if not paired:
        return "no change by vote, for no vote is paired with a baseline by document (run both with --log_samples)."
    if not changes:
        return "no change by vote, for no baseline is a share above 0."
    title = results.title("what the vote over all strengths changes")
    return [Picture(title, _CAPTION, partial(vote_change, changes, title))]


def vote_change(rows: Sequence[VoteChange], title: str = "What the vote over all strengths changes") -> Figure:
    """Change of accuracy by vote in per cent of the baseline: a group of bars per child, with 95 % intervals.

    Raises:
        SteeringError: for no rows.
    """
    style.need_some(rows, "rows")
    several = len({row.parent for row in rows}) > 1
    series = list(dict.fromkeys((row.parent, row.control) for row in rows))
    with style.new_figure(6.4, 1.7 + 0.3 * len(rows) + 0.15 * len({row.child for row in rows}), title) as figure:
        axes = figure.subplots()
        place, ticks = 0.0, []
        for child, group in style.groups(rows, lambda row: row.child).items():
            ticks.append((place + (len(group) - 1) / 2, child))
            for row in group:
                look = _series_look(series.index((row.parent, row.control))) if several else style.arm_look(row.control)
                change, low, high = (100 * x / row.baseline for x in (row.vote - row.baseline, row.low, row.high))
                seeds = sum((one.control, one.parent) == (row.control, row.parent) for one in group)
                label = style.arm_label(row.control, seeds)
                if not row.control:
                    label += f" from {row.parent}"
                elif several:
                    label += f" ({row.parent})"
                axes.barh(place, change, 0.8, color=look["color"], hatch=look["hatch"], edgecolor="white", label=label)
                axes.plot([low, high], [place, place], color=style.BLACK, linewidth=1.2, marker="|", markersize=6)
                spot = {"color": look["color"], "marker": look["marker"], "edgecolors": "white"}
                axes.scatter([change], [place], 50, zorder=3, **spot)  # a change of 0 has no bar
                told = f"{change:+.1f} %".replace("-", "\N{MINUS SIGN}")
                axes.annotate(told, (max(change, high, 0), place), (5, 0), textcoords="offset points", va="center")
                place += 1
            place += 0.6
        axes.axvline(0, color=style.BLACK, linewidth=1)
        axes.set_yticks([tick for tick, _ in ticks], [child for _, child in ticks])
        axes.invert_yaxis()
        axes.margins(x=0.18)
        axes.grid(axis="x")
        axes.set_xlabel("change of accuracy, in % of the unsteered child's")
        style.legend_below(figure, [axes], "Lines: 95 % intervals; one that crosses 0 is no evidence of a change.")
    return figure


def _series_look(number: int) -> dict[str, Any]:
    """Looks of the arms of several parents, which differ for the first 49 of them."""
    many = len(style.SERIES)
    return style.SERIES[number % many] | {"hatch": style.SERIES[(number + number // many) % many]["hatch"]}


VOTE_CHANGE = FigureKind("a vote and its baseline, both with `--log_samples`", find)
