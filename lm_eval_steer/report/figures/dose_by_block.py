"""What the strengths of a run amounted to, block by block, and what the dtype left of them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from lm_eval_steer.compare.doses import BlockDose, block_doses
from lm_eval_steer.interventions.alphas import alpha_name, alpha_order
from lm_eval_steer.report.figures import style
from lm_eval_steer.report.figures.results import FigureKind, Picture, Results

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LOW_SURVIVAL = 0.5
"""Below this share of the shift a run warns."""

_CAPTION = (
    "One α is a long step in a block whose outputs are short, and none where they are long; and what the dtype rounds "
    "away was never added. Both are measured on the run's own positions."
)


def find(results: Results) -> list[Picture] | str:
    """A picture per child, parent and unit of strengths; of several runs of a strength, the first counts."""
    doses: dict[tuple[str, str, str], dict[tuple[float, int], BlockDose]] = {}
    for row in results.rows:
        for run in row.runs.values():
            for dose in block_doses(run):
                found = doses.setdefault((results.child(row), results.parent(row), row.unit), {})
                found.setdefault((dose.alpha, dose.block), dose)
    title = results.title("what the strengths mean in each block")
    pictures = []
    for (child, parent, unit), by_place in doses.items():
        draw = partial(dose_by_block, list(by_place.values()), title, unit)
        pictures.append(Picture(title, f"{child}, vector from {parent}. {_CAPTION}", draw, child))
    return pictures or (
        "no dose by block, for no result file has `steering.doses`: they are measured where responses are "
        "generated, not where they come from a record."
    )


def dose_by_block(
    doses: Sequence[BlockDose], title: str = "What the strengths mean in each block", unit: str = "alpha"
) -> Figure:
    """‖α·v‖ / ‖h‖ per block, a line per strength, and below it the share of the shift that survived rounding.

    `unit` says what the strengths are: `alpha` or `dose`.

    Raises:
        SteeringError: for no doses.
    """
    style.need_some(doses, "doses")
    by_alpha = {alpha: group for alpha, group in style.groups(doses, lambda dose: dose.alpha).items() if alpha}
    style.need_some(by_alpha, "dose of a strength other than 0")
    ordered = sorted(by_alpha, key=alpha_order)
    named = {ordered[i] for i in np.linspace(0, len(ordered) - 1, min(7, len(ordered))).round().astype(int)}
    measured = any(dose.survival is not None for dose in doses)
    sign = "dose" if unit == "dose" else "α ="
    with style.new_figure(6.4, 5.2 if measured else 3.4, title) as figure:
        import matplotlib

        panels = figure.subplots(1 + measured, 1, sharex=True, squeeze=False)[:, 0]
        ramp = matplotlib.colormaps["viridis"]  # from dark to light, in an order that grey keeps
        for number, alpha in enumerate(ordered):
            group = sorted(by_alpha[alpha], key=lambda dose: dose.block)
            shape = style.SERIES[number % len(style.SERIES)]
            look: dict[str, Any] = {
                "color": ramp(0.9 * number / max(1, len(ordered) - 1)),
                "marker": shape["marker"],
                "linestyle": shape["linestyle"],
                "label": f"{sign} {alpha_name(alpha)}" if alpha in named else f"_{alpha_name(alpha)}",
                "markersize": 3.5,
                "linewidth": 1,
                "markevery": (number % 3, 3),
            }
            panels[0].plot([dose.block for dose in group], style.percent(dose.dose for dose in group), **look)
            kept = [(dose.block, 100 * dose.survival) for dose in group if dose.survival is not None]
            if kept:
                panels[1].plot(*zip(*kept, strict=True), **look)
        panels[0].set_yscale("log")
        style.number_log_scale(panels[0].yaxis, "{:g}".format)
        panels[0].set_ylabel("shift ‖α·v‖ in % of ‖h‖")
        panels[0].grid(axis="y")
        note = "h: the block's output."
        if measured:
            panels[1].axhline(100, color=style.GREY, linewidth=0.8)
            panels[1].axhspan(0, 100 * LOW_SURVIVAL, **style.BAND)
            panels[1].set_ylabel("left after rounding (%)")
            panels[1].set_ylim(bottom=0)
            note += f" Hatched: less than {100 * LOW_SURVIVAL:.0f} % of the shift is left."
        panels[-1].set_xlabel("block of the child")
        panels[-1].xaxis.get_major_locator().set_params(integer=True)
        style.legend_below(figure, panels[:1], note)
    return figure


DOSE_BY_BLOCK = FigureKind("`steering.doses` in a result file", find, by_pair=True)
