"""The figures that results allow, one sentence for each that they do not, and all of them as files."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from lm_eval_steer.compare.responses import Responses, read_responses
from lm_eval_steer.compare.sites import site_of
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.report.figures.agreement import AGREEMENT
from lm_eval_steer.report.figures.change_by_pair import CHANGE_BY_PAIR
from lm_eval_steer.report.figures.document_accuracy import DOCUMENT_ACCURACY
from lm_eval_steer.report.figures.dose_by_block import DOSE_BY_BLOCK
from lm_eval_steer.report.figures.effect_by_block import EFFECT_BY_BLOCK
from lm_eval_steer.report.figures.effect_by_cost import EFFECT_BY_COST
from lm_eval_steer.report.figures.files import save_figure
from lm_eval_steer.report.figures.results import FigureKind, Picture, Results
from lm_eval_steer.report.figures.share_of_own import SHARE_OF_OWN
from lm_eval_steer.report.figures.validation_accuracy import VALIDATION_ACCURACY
from lm_eval_steer.report.figures.vote_change import VOTE_CHANGE
from lm_eval_steer.report.tables import Leaderboard
from lm_eval_steer.table import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FIGURES: Table[FigureKind] = Table(
    "figure",
    {
        "alpha_accuracy-validation": VALIDATION_ACCURACY,
        "alpha_accuracy-test": DOCUMENT_ACCURACY,
        "vote_change": VOTE_CHANGE,
        "change_by_pair": CHANGE_BY_PAIR,
        "share_of_own": SHARE_OF_OWN,
        "effect_by_cost": EFFECT_BY_COST,
        "effect_by_block": EFFECT_BY_BLOCK,
        "agreement": AGREEMENT,
        "dose_by_block": DOSE_BY_BLOCK,
    },
)
"""In the order in which they are read. A name begins the names of its files."""


def find_pictures(
    board: Leaderboard, responses: list[Responses], are_many: bool = False
) -> tuple[list[Picture], list[str]]:
    """What can be drawn, in the order in which it is read, and why the rest cannot.

    Args:
        board: with the rows.
        responses: of those rows that have samples.
        are_many: whether the pairs of parent and child are too many for figures with panels for each of them.
    """
    names = [name for name in FIGURES if not (are_many and FIGURES[name].by_pair)]
    pictures: list[Picture] = []
    missing: dict[str, list[str]] = {}
    for group in board.groups:
        rows = [row for row in board.rows if row.group is group]
        sites = [row for row in rows if site_of(row) is not None]
        alone = {id(row) for row in sites}
        told = [one for one in responses if one.row.group is group and id(one.row) not in alone]
        results = Results(group, [row for row in rows if id(row) not in alone], told, board.names, sites)
        for name in names:
            found = FIGURES[name].find(results)
            if isinstance(found, str):
                missing.setdefault(found, []).append(group.name)
            else:
                pictures += [replace(one, name=f"{name}-{group.name}-{one.of}") for one in found]
    every = len(board.groups) if len(board.groups) > 1 else 0
    where = {why: "everywhere" if len(names) == every else ", ".join(names) for why, names in missing.items()}
    return list(_named_apart(pictures)), [f"{place}: {why}" for why, place in where.items()]


def draw(pictures: list[Picture]) -> list[tuple[Picture, Figure]]:
    """All of them, with a progress bar where that takes long."""
    shown = tqdm(pictures, desc="figures", unit="figure", delay=2, leave=False, disable=None)
    return [(picture, picture.draw()) for picture in shown]


def write_figures(board: Leaderboard, folder: str | Path) -> tuple[list[Path], list[str]]:
    """Write every figure of a leaderboard as SVG and PNG; returns the files, and why the rest could not be drawn.

    Raises:
        SteeringError: where there is none, and for samples and records that cannot be read.
    """
    pictures, missing = find_pictures(board, read_responses(board.rows, board.records))
    if not pictures:
        folders = ", ".join(map(str, board.folders))
        raise SteeringError(
            f"nothing in {folders} can be drawn, for that takes a sweep, a set with its record, or doses that "
            "steered-hf measured: run lm-eval-steer sweep"
        )
    drawn = [(Path(folder) / picture.name, figure) for picture, figure in draw(pictures)]
    return [save_figure(figure, f"{path}.{kind}") for path, figure in drawn for kind in ("svg", "png")], missing


def _named_apart(pictures: Iterable[Picture]) -> Iterator[Picture]:
    """Names as file systems take them, with a number where two are the same."""
    seen: Counter[str] = Counter()
    for picture in pictures:
        name = re.sub(r"[^\w.-]+", "_", picture.name, flags=re.ASCII)[:120]
        name = re.sub(r"_*-_*", "-", name).strip("_.-")
        seen[name.casefold()] += 1
        count = seen[name.casefold()]
        yield replace(picture, name=name if count == 1 else f"{name}-{count}")
