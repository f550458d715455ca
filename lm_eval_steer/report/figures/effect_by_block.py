"""What a vector brings at one block at a time, at each strength: the profile of a sweep with `--sites each`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from lm_eval_steer.compare.rows import BEST, Row
from lm_eval_steer.compare.sites import ALL, site_of
from lm_eval_steer.interventions.alphas import alpha_name, alpha_order
from lm_eval_steer.report.figures import style
from lm_eval_steer.report.figures.results import FigureKind, Picture, Results
from lm_eval_steer.report.tables.entries import bounds
from lm_eval_steer.report.tables.flat import is_share

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_CAPTION = (
    "The vector at one block at a time. Above, the change of the score on validation rows, a line per strength; below, "
    "that of the strength which validation rows chose for the block, on the test documents, with its 95 % interval. "
    "Dashed: the vector at all its blocks."
)


@dataclass(frozen=True)
class Block:
    """A block of a profile.

    Attributes:
        number: of the block, from 0.
        chosen: strength -> change of the score on validation rows.
        alpha: the strength that was chosen; None where none was.
        change: of the score in the test, at this strength; None where there is none.
        low: lower end of its 95 % interval; None without one.
        high: upper end.
    """

    number: int
    chosen: dict[float, float]
    alpha: float | None = None
    change: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Profile:
    """A sweep of one site at a time.

    Attributes:
        panel: what people call the child, and the sweep where there are several.
        blocks: ascending.
        whole: change in the test of the vector at all its blocks; None where it has none.
        metric: of the changes, as the axis names it.
        unit: of the strengths, `alpha` or `dose`.
    """

    panel: str
    blocks: tuple[Block, ...]
    whole: float | None
    metric: str
    unit: str


def find(results: Results) -> list[Picture] | str:
    """A picture per child and sweep."""
    sweeps: dict[tuple[str, Path | None], dict[int, Row]] = {}
    for row in results.sites:
        if (block := site_of(row)) is not None:
            sweeps.setdefault((results.child(row), row.folder), {})[block] = row
    if not sweeps:
        return "no effect by block, for that takes a sweep with --sites each."
    several = len({child for child, _ in sweeps}) < len(sweeps)
    found = []
    for (child, folder), rows in sweeps.items():
        panel = f"{child} ({folder.name})" if several and folder else child
        title = results.title(f"effect by block, {panel}")
        every = [row for row in results.rows if row.folder == folder and row.named == ALL]
        profile = _profile(panel, rows, every)
        found.append(Picture(title, _CAPTION, partial(effect_by_block, profile, title), panel))
    return found


def _profile(panel: str, rows: dict[int, Row], every: Sequence[Row]) -> Profile:
    any_row = next(iter(rows.values()))
    scale = 100 if is_share(any_row) else 1
    whole = next((row.changes[BEST].change * scale for row in every if BEST in row.changes), None)
    metric = any_row.any_run.metric.split(",")[0]
    unit = f"{metric}, points" if scale == 100 else metric
    blocks = tuple(_block(block, row, scale) for block, row in sorted(rows.items()))
    return Profile(panel, blocks, whole, f"change of {unit}", any_row.unit)


def _block(number: int, row: Row, scale: int) -> Block:
    part = row.any_part
    assert part is not None  # a site is of a sweep
    plain = next((of["0"] for of in part.validation["scores"].values() if of.get("0") is not None), None)
    scores = part.validation["scores"].get(row.named, {})
    chosen = {
        float(alpha): scale * (score - plain)
        for alpha, score in scores.items()
        if score is not None and plain is not None and float(alpha)
    }
    change = row.changes.get(BEST)
    if change is None:
        return Block(number, chosen, row.best_alpha)
    ends = [scale * end for end in bounds(row, change.verdict)] if change.verdict else [None, None]
    return Block(number, chosen, row.best_alpha, scale * change.change, *ends)


def effect_by_block(profile: Profile, title: str = "Effect by block") -> Figure:
    """Changes of the score over the blocks: on validation rows a line per strength, in the test one with intervals.

    Raises:
        SteeringError: for a profile without blocks.
    """
    style.need_some(profile.blocks, "blocks")
    with style.new_figure(max(6.2, 0.22 * len(profile.blocks) + 2), 6.0, title) as figure:
        above, below = figure.subplots(2, 1, sharex=True)
        strengths = sorted({alpha for block in profile.blocks for alpha in block.chosen}, key=alpha_order)
        for look, (alpha, points) in zip(_looks(len(strengths)), _lines(profile, strengths), strict=True):
            above.plot(*zip(*points, strict=True), **look, label=f"{profile.unit} {alpha_name(alpha)}")
        _draw_test(below, profile)
        for axes, rows in ((above, "validation rows"), (below, "test documents")):
            axes.axhline(0, color=style.GREY, linewidth=0.8, linestyle=":")
            axes.grid(axis="y")
            axes.set_ylabel(f"{profile.metric},\n{rows}")
        below.set_xlabel("block")
        below.xaxis.get_major_locator().set_params(integer=True)
        style.legend_below(figure, [above], "Bars: 95 % intervals. Dashed: all blocks together.")
    return figure


def _lines(profile: Profile, strengths: Sequence[float]) -> Iterator[tuple[float, list[tuple[int, float]]]]:
    for alpha in strengths:
        yield alpha, [(block.number, block.chosen[alpha]) for block in profile.blocks if alpha in block.chosen]


def _looks(count: int) -> list[dict[str, object]]:
    """From light to dark, the stronger the darker."""
    shades = [0.75 - 0.75 * place / max(count - 1, 1) for place in range(count)]
    return [{"color": str(shade), "marker": "o", "markersize": 3, "linewidth": 1.4} for shade in shades]


def _draw_test(axes: Axes, profile: Profile) -> None:
    for block in profile.blocks:
        if block.change is not None:
            if block.low is not None and block.high is not None:
                axes.vlines(block.number, block.low, block.high, color=style.BLUE, linewidth=1.4)
            axes.plot(block.number, block.change, "o", color=style.BLUE)
    if profile.whole is not None:
        axes.axhline(profile.whole, color=style.BLACK, linewidth=1, linestyle="--")


EFFECT_BY_BLOCK = FigureKind("a sweep with `--sites each`", find, by_pair=True)
