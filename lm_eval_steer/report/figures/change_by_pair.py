"""What steering changes in every child by the vectors of every parent: a map of the changes, with their intervals."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from lm_eval_steer.compare.rows import BEST
from lm_eval_steer.compare.stats import HELPS, HURTS
from lm_eval_steer.report.figures import style
from lm_eval_steer.report.figures.results import FigureKind, Picture, Results
from lm_eval_steer.report.tables.entries import bounds
from lm_eval_steer.report.tables.flat import is_share, points

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_CAPTION = (
    "Change of the score at the strength that validation rows chose, against the child without steering, with its 95 % "
    "interval, which is not adjusted for several tests. Frames: the verdict, which knows of all of them, is helps "
    "(solid) or hurts (dashed). Blue is better, red worse; an empty cell was not run."
)

_LINE = 40
"""Characters of a parent's name before it goes on in another line."""


@dataclass(frozen=True)
class PairChange:
    """What a parent's vector did to a child.

    Attributes:
        parent: what people call it, a line of the map.
        child: likewise, a column.
        gain: the change as a number that is the higher the better.
        text: the change and its interval, as the cell has them.
        verdict: `helps`, `hurts`, or another word.
    """

    parent: str
    child: str
    gain: float
    text: str
    verdict: str


def find(results: Results) -> list[Picture]:
    """One map of all children and parents; none, and no word of it, where there is one pair of them."""
    found = []
    for row in results.rows:
        change = row.changes.get(BEST)
        if row.is_sweep and change and change.verdict:
            low, high = bounds(row, change.verdict)
            text = f"{points(change.change, row)}\n{points(low, row)} to {points(high, row)}"
            gain = change.change if row.any_run.higher_is_better else -change.change
            verdict = change.verdict.word if change.judged else ""
            found.append(PairChange(results.parent(row), results.child(row), gain, text, verdict))
    if len({(one.parent, one.child) for one in found}) < 2:
        return []
    unit = "points" if all(is_share(row) for row in results.rows) else "the metric's unit"
    title = results.title(f"change by parent and child, in {unit}")
    return [Picture(title, _CAPTION, partial(change_by_pair, found, title))]


def change_by_pair(pairs: Sequence[PairChange], title: str = "Change by parent and child") -> Figure:
    """Parents down, children across; of a pair that is there twice, the first.

    Raises:
        SteeringError: for no pairs.
    """
    style.need_some(pairs, "pairs of parent and child")
    parents, children = (list(dict.fromkeys(getattr(one, name) for one in pairs)) for name in ("parent", "child"))
    places: dict[tuple[int, int], PairChange] = {}
    for one in pairs:
        places.setdefault((parents.index(one.parent), children.index(one.child)), one)
    gains = np.full((len(parents), len(children)), np.nan)
    for place, one in places.items():
        gains[place] = one.gain
    most = float(np.nanmax(np.abs(gains))) or 1.0
    labels = [textwrap.fill(parent, _LINE) for parent in parents]
    broad = max(len(line) for label in labels for line in label.splitlines())
    high = max(0.55, 0.17 * max(label.count("\n") + 1 for label in labels))
    width = 1.2 + 0.08 * broad + 1.25 * len(children)
    with style.new_figure(width, 1.6 + high * len(parents), title) as figure:
        from matplotlib.patches import Rectangle

        axes = figure.subplots()
        axes.imshow(gains, cmap="RdBu", vmin=-most, vmax=most, aspect="auto")
        axes.set_xticks(range(len(children)), children, rotation=20, ha="right")
        axes.set_yticks(range(len(parents)), labels)
        axes.set_xlabel("child")
        axes.set_ylabel("parent of the vector")
        for (line, column), one in places.items():
            dark = abs(one.gain) > 0.7 * most
            axes.text(
                column, line, one.text, ha="center", va="center", fontsize=7.5, color="white" if dark else "black"
            )
            if one.verdict in (HELPS, HURTS):
                frame = "-" if one.verdict == HELPS else "--"
                box = Rectangle((column - 0.47, line - 0.45), 0.94, 0.9, fill=False, linestyle=frame, linewidth=1.6)
                axes.add_patch(box)
    return figure


CHANGE_BY_PAIR = FigureKind("sweeps of two pairs of parent and child or more", find)
