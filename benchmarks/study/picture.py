"""README's figure: what each arm of one cell does to reasoning and to being right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import fill

from cells import Cell
from lines import Line
from words import name_of

from lm_eval_steer.report.figures.files import figure_bytes
from lm_eval_steer.report.figures.style import BLACK, BLUE, GREY, ORANGE, new_figure

REASONS, RIGHT, ALIKE = "works before it answers", "right, at its best dose", "right, at dose {:g}"


def draw(cell: Cell, lines: Sequence[Line], metric: str, alike: Mapping[str, Line], dose: float) -> bytes:
    """An SVG: a row per arm, the share of responses that reason, and the share that is right with its 95 % interval.

    Args:
        cell: whose arms they are.
        lines: the arms, from above.
        metric: that of reasoning.
        alike: the same at one dose for all, by key.
        dose: this dose.
    """
    with new_figure(7.6, 0.46 * len(lines) + 1.1, "") as figure:
        axes = figure.subplots()
        for place, line in enumerate(lines):
            found, named = line.score, place == 0
            axes.plot([found["low"] * 100, found["high"] * 100], [place] * 2, color=BLUE, linewidth=2, zorder=2)
            right, reasons = found["score"] * 100, line.metrics[metric] * 100
            axes.plot(reasons, place, "D", color=ORANGE, markersize=6, zorder=3, label=REASONS if named else None)
            axes.plot(right, place, "o", color=BLUE, markersize=6, zorder=4, label=RIGHT if named else None)
            if line.key in alike:
                value, label = alike[line.key].score["score"] * 100, ALIKE.format(dose) if named else None
                axes.plot(value, place, "|", color=BLACK, markersize=8, markeredgewidth=2, zorder=5, label=label)
        axes.axvline(lines[0].score["score"] * 100, color=GREY, linestyle=":", linewidth=1, zorder=1)
        axes.set_yticks(range(len(lines)), [fill(name_of(line, cell), 40) for line in lines])
        axes.set_ylim(len(lines) - 0.4, -0.6)
        axes.set_xlim(-2, 102)
        axes.set_xlabel("% of responses; line: 95 % interval, of several seeds their range")
        axes.grid(axis="x")
        figure.legend(loc="outside upper center", ncols=3)
        return figure_bytes(figure, "svg")
