"""The figure of docs/RESULTS.md: effect against cost, a curve per operator and site."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from plan import CELLS, COST, MODELS, WAYS

from lm_eval_steer.report.figures.files import figure_bytes
from lm_eval_steer.report.figures.style import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    VERMILLION,
    new_figure,
    number_log_scale,
)

COLOURS = (BLUE, VERMILLION, GREEN, ORANGE, PURPLE, SKY, BLACK, "#8B6914")
STYLES = ("-", "--", ":", "-.")


def draw(found: Mapping[str, Any]) -> bytes:
    """An SVG: a panel per child and concept; points are strengths, crosses random directions at the price."""
    cells = [cell for cell in CELLS if cell.name in found]
    panels = list(dict.fromkeys((cell.child, cell.concept) for cell in cells))
    names = list(dict.fromkeys(label(cell.way, cell.site) for cell in cells))
    looks = {
        name: {
            "color": COLOURS[place % len(COLOURS)],
            "linestyle": STYLES[place // len(COLOURS)],
            "linewidth": max(1.2, 6.5 - 1.5 * place),  # curves that lie on each other show all the same
        }
        for place, name in enumerate(names)
    }
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    with new_figure(8.2, 0.9 + 3.0 * rows, "") as figure:
        grid = figure.subplots(rows, columns, squeeze=False)
        for axes in grid.flat[len(panels) :]:
            axes.axis("off")
        handles: dict[str, Any] = {}
        for axes, panel in zip(grid.flat, panels, strict=False):
            for cell in cells:
                if (cell.child, cell.concept) != panel:
                    continue
                name = label(cell.way, cell.site)
                curve = [(one["cost"]["value"], one["change"]["value"]) for one in found[cell.name]["curve"]]
                points = zip(*([] if WAYS[cell.way].sets else [(0, 0)]), *curve, strict=True)
                (handles[name],) = axes.plot(*points, **looks[name], marker=".")
                for one in found[cell.name]["random"].values():
                    spot = one["cost"]["value"], one["change"]["value"]
                    (handles["random directions"],) = axes.plot(*spot, "x", color=GREY, markersize=5)
            axes.axvline(COST, color=GREY, linewidth=0.8, linestyle=":")
            axes.axhline(0, color=GREY, linewidth=0.8, linestyle=":")
            axes.set_xscale("symlog", linthresh=0.05)
            axes.set_xlim(left=-0.005)
            number_log_scale(axes.xaxis, lambda value: f"{value:g}")
            axes.set_title(f"{MODELS[panel[0]]}, {panel[1]}")
            axes.set_xlabel("cost on unrelated text, nats per token")
            axes.set_ylabel("change of log-odds, nats")
            axes.grid(axis="both")
        figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=4)
        return figure_bytes(figure, "svg")


def label(way: str, site: str) -> str:
    """An operator at a site; at blocks, where most are, without it."""
    return way if site == "block" else f"{way} at {site}"
