"""Whether a vote is right where the answers agree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from lm_eval_steer.compare.counts import Agreement, Count, agreements
from lm_eval_steer.compare.responses import View
from lm_eval_steer.report.figures import style
from lm_eval_steer.report.figures.results import FigureKind, Picture, Results

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EDGES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
"""Of the bins; a share on an edge belongs to the bin below it."""

_CAPTION = (
    "To the right are documents to which most strengths gave the same answer (the same text). Above the dotted line, "
    "votes are right more often than their answers agree. Of several random vectors, the first is drawn."
)


def find(results: Results) -> list[Picture] | str:
    """A picture per row whose votes are known answer by answer."""
    title = results.title("is the vote right where the answers agree?")
    several = Counter(results.child(one.row) for one in results.responses if one.row.runs)
    found = []
    for one in results.responses:
        points = [point for view in _compared(one.views) for point in agreements(view)]
        if one.is_binary and points:
            child = results.child(one.row)
            whose, drawn = child, title
            if several[child] > 1:
                whose = f"{child}, vector from {results.parent(one.row)}"
                drawn = f"{title}\n{whose}"
            found.append(Picture(title, f"{whose}. {_CAPTION}", partial(agreement, points, drawn), child))
    return found or (
        "no agreement of votes, for that takes a vote over documents that are right or wrong, with every "
        "response in the record (a sweep, or a set without vote_early_stop)."
    )


def _compared(views: list[View]) -> list[View]:
    """The vector and one control, the first random vector or else the samples: more cannot be told apart."""
    kinds = ("", "random", "self-consistency")
    return [view for kind in kinds for view in views if view.kind == kind][:2]


def agreement(points: Sequence[Agreement], title: str = "Is the vote right where the answers agree?") -> Figure:
    """Share of right winners over the share of answers that agree with the winner, with 95 % Wilson intervals per bin.

    Each mark stands at the mean agreement of its bin, and beside it how many documents are in it.

    Raises:
        SteeringError: for no points.
    """
    style.need_some(points, "votes")
    with style.new_figure(5.6, 4.6, title) as figure:
        axes = figure.subplots()
        axes.plot(
            [0, 100], [0, 100], color=style.GREY, linewidth=0.8, linestyle=":", label="right as often as it agrees"
        )
        for edge in EDGES[1:-1]:
            axes.axvline(100 * edge, color="#DDDDDD", linewidth=0.8)
        for number, (control, group) in enumerate(style.groups(points, lambda point: point.control).items()):
            group.sort(key=lambda point: point.share)
            bins = style.groups(group, lambda point: max(1, int(np.searchsorted(EDGES, point.share))))
            counts = [Count(sum(point.correct for point in one), len(one)) for one in bins.values()]
            places = [100 * float(np.mean([point.share for point in one])) for one in bins.values()]
            shares = style.percent(count.share for count in counts)
            ends = np.array([style.percent(count.interval) for count in counts]).T
            look = style.line_look(control)
            axes.errorbar(
                places, shares, np.abs(ends - shares), **look, capsize=3, linewidth=1.4, label=style.arm_label(control)
            )
            side, gap = (1, 3) if number % 2 else (0, -10)  # above or below the bars, so that two arms do not meet
            near = {"textcoords": "offset points", "ha": "center", "color": look["color"]}
            for place, end, count in zip(places, ends[side], counts, strict=True):
                axes.annotate(f"{count.n}", (place, end), (0, gap), **near)
        axes.set_xlim(0, 104)
        axes.set_ylim(-6, 106)
        axes.set_xlabel("answers that agree with the winner (%)")
        axes.set_ylabel("documents whose winner is right (%)")
        style.legend_below(figure, [axes], "Numbers: documents in a bin. Bars: 95 % Wilson intervals.")
    return figure


AGREEMENT = FigureKind("a vote with every response of every strength in the record", find)
