"""README's figure: what each arm of one cell does to reasoning and to being right."""

from __future__ import annotations

from collections.abc import Sequence

from cells import Cell
from lines import Line
from words import name_of

from lm_eval_steer.report.figures.files import figure_bytes
from lm_eval_steer.report.figures.style import BLUE, GREY, ORANGE, new_figure

REASONS, RIGHT = "works before it answers", "right"


def draw(cell: Cell, lines: Sequence[Line], metric: str) -> bytes:
    """An SVG: a row per arm, the share of responses that reason, and the share that is right with its 95 % interval.

    Args:
        cell: whose arms they are.
        lines: the arms, from above.
        metric: that of reasoning.
    """
    with new_figure(7.4, 0.36 * len(lines) + 1.1, "") as figure:
        axes = figure.subplots()
        for place, line in enumerate(lines):
            found, named = line.score, place == 0
            axes.plot([found["low"] * 100, found["high"] * 100], [place] * 2, color=BLUE, linewidth=2, zorder=2)
            right, reasons = found["score"] * 100, line.metrics[metric] * 100
            axes.plot(right, place, "o", color=BLUE, markersize=6, zorder=3, label=RIGHT if named else None)
            axes.plot(reasons, place, "D", color=ORANGE, markersize=6, zorder=3, label=REASONS if named else None)
        axes.axvline(lines[0].score["score"] * 100, color=GREY, linestyle=":", linewidth=1, zorder=1)
        axes.set_yticks(range(len(lines)), [name_of(line, cell) for line in lines])
        axes.set_ylim(len(lines) - 0.4, -0.6)
        axes.set_xlim(-2, 102)
        axes.set_xlabel("% of responses (line: 95 % interval; of several seeds, their range)")
        axes.grid(axis="x")
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
        return figure_bytes(figure, "svg")
