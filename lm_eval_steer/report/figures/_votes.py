"""What a vote changes (the paper's Figure 1), and whether votes that agree are right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.report.figures._data import Agreement, Count, VoteChange
from lm_eval_steer.report.figures._style import (
    BLACK,
    GREY,
    SERIES,
    arm_label,
    arm_look,
    groups,
    legend_below,
    need_some,
    new_figure,
    percent,
    signed,
    styled,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


AGREEMENT_EDGES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
"""Bins of `agreement`; a share on an edge belongs to the bin below it."""


def vote_change(rows: Sequence[VoteChange], title: str = "What the vote over all strengths changes") -> Figure:
    """Change of accuracy by vote in per cent of the baseline: a group of bars per child, with 95 % intervals.

    Raises:
        SteeringError: for no rows, and for a child whose baseline is 0.
    """
    need_some(rows, "rows")
    parents = list(groups(rows, lambda row: row.parent))
    looks: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows:
        key, number, many = (row.parent, row.control.partition(":")[0]), len(looks), len(SERIES)
        of_series = {
            "color": SERIES[number % many]["color"],
            "marker": SERIES[number % many]["marker"],
            "hatch": SERIES[(number + number // many) % many]["hatch"],
        }
        looks.setdefault(key, arm_look(row.control) if len(parents) == 1 else of_series)
    ordered = [row for group in groups(rows, lambda row: row.child).values() for row in group]
    with styled():
        figure = new_figure(6.4, 1.7 + 0.3 * len(rows) + 0.15 * len({row.child for row in rows}))
        axes = figure.subplots()
        place, ticks = 0.0, []
        for child, group in groups(ordered, lambda row: row.child).items():
            ticks.append((place + (len(group) - 1) / 2, child))
            for row in group:
                look = looks[row.parent, row.control.partition(":")[0]]
                change, low, high = (row.relative(value) for value in (row.vote - row.baseline, row.low, row.high))
                seeds = sum(one.control.startswith("random") and one.parent == row.parent for one in group)
                label = arm_label(row.control, seeds)
                if len(parents) > 1 or not row.control:
                    label = f"{label} from {row.parent}" if not row.control else f"{label} ({row.parent})"
                axes.barh(place, change, 0.8, color=look["color"], hatch=look["hatch"], edgecolor="white", label=label)
                axes.plot([low, high], [place, place], color=BLACK, linewidth=1.2, marker="|", markersize=6)
                spot = {"color": look["color"], "marker": look["marker"], "edgecolors": "white"}
                axes.scatter([change], [place], 50, zorder=3, **spot)  # a change of 0 has no bar
                end = (max(change, high, 0), place)
                axes.annotate(signed(change), end, (5, 0), textcoords="offset points", va="center")
                place += 1
            place += 0.6
        axes.axvline(0, color=BLACK, linewidth=1)
        axes.set_yticks([tick for tick, _ in ticks], [child for _, child in ticks])
        axes.invert_yaxis()
        axes.margins(x=0.18)
        axes.grid(axis="x")
        axes.set_xlabel("change of accuracy, in % of the unsteered child's")
        figure.suptitle(title)
        legend_below(figure, [axes], "Lines: 95 % intervals; one that crosses 0 is no evidence of a change.")
    return figure


def agreement(
    points: Sequence[Agreement],
    title: str = "Is the vote right where the answers agree?",
    edges: Sequence[float] = AGREEMENT_EDGES,
) -> Figure:
    """Share of right winners over the share of answers that agree with the winner, with 95 % Wilson intervals per bin.

    Each mark stands at the mean agreement of its bin, and beside it how many documents are in it.

    Raises:
        SteeringError: for no points, and for a share outside of the bins.
    """
    need_some(points, "votes")
    outside = next((point.share for point in points if not edges[0] <= point.share <= edges[-1]), None)
    if outside is not None:
        raise SteeringError(f"an agreement of {outside:.4g} is no share: give {edges[0]:g} to {edges[-1]:g}")
    arms = groups(points, lambda point: point.control)
    with styled():
        figure = new_figure(5.6, 4.6)
        axes = figure.subplots()
        axes.plot([0, 100], [0, 100], color=GREY, linewidth=0.8, linestyle=":", label="right as often as it agrees")
        for edge in edges[1:-1]:
            axes.axvline(100 * edge, color="#DDDDDD", linewidth=0.8)
        for number, (control, group) in enumerate(arms.items()):
            bins = groups(group, lambda point: max(0, int(np.searchsorted(edges, point.share, side="left")) - 1))
            counts = {i: Count(sum(p.correct for p in bins[i]), len(bins[i])) for i in sorted(bins)}
            places = [100 * float(np.mean([point.share for point in bins[i]])) for i in counts]
            shares = percent(count.share for count in counts.values())
            ends = np.array([percent(count.interval) for count in counts.values()]).T
            look = arm_look(control)
            line = {key: look[key] for key in ("color", "marker", "linestyle")}
            errors = np.abs(ends - shares)
            axes.errorbar(places, shares, errors, **line, capsize=3, linewidth=1.4, label=arm_label(control, 1))
            side, gap = (1, 3) if number % 2 else (0, -10)  # above or below the bars, so that two arms do not meet
            for place, end, count in zip(places, ends[side], counts.values(), strict=True):
                axes.annotate(
                    f"{count.n}", (place, end), (0, gap), textcoords="offset points", ha="center", color=look["color"]
                )
        axes.set_xlim(0, 104)
        axes.set_ylim(-6, 106)
        axes.set_xlabel("answers that agree with the winner (%)")
        axes.set_ylabel("documents whose winner is right (%)")
        figure.suptitle(title)
        legend_below(figure, [axes], "Numbers: documents in a bin. Bars: 95 % Wilson intervals.")
    return figure
