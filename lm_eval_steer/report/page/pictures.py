"""The figures that results allow, and one sentence for each that they do not."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from lm_eval_steer.compare.groups import Group
from lm_eval_steer.compare.pairs import is_binary
from lm_eval_steer.compare.rows import Row
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.files import is_file, refuse_unwritable
from lm_eval_steer.report.figures import (
    Agreement,
    BlockDose,
    Count,
    Curve,
    VoteChange,
    agreement,
    alpha_accuracy,
    dose_by_block,
    need_matplotlib,
    save_figure,
    vote_change,
)
from lm_eval_steer.report.page.views import Sheet, View, read_sheets
from lm_eval_steer.report.tables import Leaderboard
from lm_eval_steer.report.tables.entries import bounds, short
from lm_eval_steer.report.tables.flat import is_share

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Picture:
    """A figure.

    Attributes:
        name: of its file, without a suffix.
        title: what it shows.
        caption: how to read it.
        draw: makes it.
    """

    name: str
    title: str
    caption: str
    draw: Callable[[], Figure]


Panels = Mapping[int, str]
"""Row -> what a panel calls its parent."""


def find_pictures(board: Leaderboard, sheets: list[Sheet]) -> tuple[list[Picture], list[str]]:
    """What can be drawn, in the order in which it is read, and why the rest cannot."""
    pictures: list[Picture] = []
    missing: dict[str, list[str]] = {}
    for group in board.groups:
        rows = [row for row in board.rows if row.group is group]
        own = [sheet for sheet in sheets if sheet.row.group is group]
        names = _panels(rows, board.names)
        for found in (
            _validation(group, rows, names, board.names),
            _test(group, own, names, board.names),
            _votes(group, rows, names, board.names),
            _agreements(group, own, board.names),
            _doses(group, rows, names, board.names),
        ):
            if isinstance(found, str):
                missing.setdefault(found, []).append(group.name)
            else:
                pictures += found
    every = len(board.groups) if len(board.groups) > 1 else 0
    where = {why: "everywhere" if len(names) == every else ", ".join(names) for why, names in missing.items()}
    return _named_apart(pictures), [f"{place}: {why}" for why, place in where.items()]


def check_folder(path: str | Path) -> None:
    """Check, before the work, that figures can be written into a folder.

    Raises:
        SteeringError: for a file in its place, a place that cannot be written to, and where matplotlib is missing.
    """
    need_matplotlib()
    if not str(path):
        raise SteeringError("--out names no folder: name one, figures are several files")
    if is_file(path):
        raise SteeringError(f"--out {path} is a file: name a folder, figures are several files")
    refuse_unwritable(Path(path) / "figure.svg")


def write_figures(board: Leaderboard, folder: str | Path) -> tuple[list[Path], list[str]]:
    """Write every figure of a leaderboard as SVG and PNG; returns the files, and why the rest could not be drawn.

    Raises:
        SteeringError: where there is none, and for samples and records that cannot be read.
    """
    pictures, missing = find_pictures(board, read_sheets(board.rows))
    if not pictures:
        folders = ", ".join(map(str, board.folders))
        raise SteeringError(
            f"nothing in {folders} can be drawn, for that takes a sweep, a set with its record, or doses that "
            "steered-hf measured: run lm-eval-steer sweep"
        )
    names = ((picture.name, figure) for picture, figure in draw(pictures))
    return [
        save_figure(figure, Path(folder) / f"{name}.{kind}") for name, figure in names for kind in ("svg", "png")
    ], missing


def draw(pictures: Iterable[Picture]) -> list[tuple[Picture, Figure]]:
    """All of them, with a progress bar where that takes long."""
    shown = tqdm(list(pictures), desc="figures", unit="figure", delay=2, leave=False, disable=None)
    return [(picture, picture.draw()) for picture in shown]


def _validation(group: Group, rows: list[Row], panels: Panels, names: Mapping[str, str]) -> list[Picture] | str:
    curves: dict[str, list[Curve]] = {}
    seen = False
    for row in rows:
        validation = next(iter(row.parts.values())).validation if row.runs and row.parts else {}
        scores, n = validation.get("scores") or {}, validation.get("n") or 0
        seen |= bool(scores)
        counted = {
            control: {float(alpha): count for alpha, score in found.items() if (count := _count(score, n))}
            for control, found in scores.items()
        }
        baseline = counted.get("vector", {}).pop(0.0, None)
        if baseline is None:
            continue
        for control, points in counted.items():
            if points:
                curve = Curve(short(row.child, names), panels[id(row)], points, baseline, _bare(control))
                curves.setdefault(row.unit, []).append(curve)
    if not curves:
        why = "its scores are no shares of right documents" if seen else "that takes a sweep"
        return f"no accuracy by strength on validation rows, for {why}."
    return [
        _accuracy(
            f"alpha_accuracy-validation-{group.name}",
            f"{group.name}: accuracy by strength, validation rows",
            "The strength is chosen here, on documents that the test has not seen. The highest point of many is high "
            "by luck, too: what it is worth is what the test says.",
            found,
            unit,
        )
        for unit, found in curves.items()
    ]


def _test(group: Group, sheets: list[Sheet], panels: Panels, names: Mapping[str, str]) -> list[Picture] | str:
    points: dict[tuple[str, str, str, str], dict[float, Count]] = {}
    baselines: dict[tuple[str, str], Count] = {}
    for sheet in sheets:
        row = sheet.row
        if row.baseline is None or not row.runs or not is_binary(row.baseline.samples):
            continue
        place = (short(row.child, names), panels[id(row)])
        right = sum(sample.score == 1 for sample in row.baseline.samples)
        baselines.setdefault(place, Count(right, len(row.baseline.samples)))
        for view in sheet.views:
            if view.control not in ("identity", "self-consistency") and view.is_binary:
                points.setdefault((*place, row.unit, view.control), {}).update(_counts(view))
    curves: dict[str, list[Curve]] = {}
    for (child, parent, unit, control), counts in points.items():
        if len(counts) > 1:
            curve = Curve(child, parent, counts, baselines[child, parent], control)
            curves.setdefault(unit, []).append(curve)
    if not curves:
        return (
            "no accuracy by strength on test documents, for that takes two strengths or more of which "
            "every response is known to be right or wrong (a sweep, or a set with its record, and --log_samples)."
        )
    return [
        _accuracy(
            f"alpha_accuracy-test-{group.name}",
            f"{group.name}: accuracy by strength, test documents",
            "For looking only: to pick the best of these would be a choice on the test set.",
            found,
            unit,
        )
        for unit, found in curves.items()
    ]


def _accuracy(name: str, title: str, caption: str, curves: list[Curve], unit: str) -> Picture:
    return Picture(name, title, caption, lambda: alpha_accuracy(curves, title, unit))


def _votes(group: Group, rows: list[Row], panels: Panels, names: Mapping[str, str]) -> list[Picture] | str:
    changes = []
    voted = paired = False
    for row in rows:
        for arm, run in row.runs.items():
            if len(run.alphas) < 2:
                continue
            voted = True
            if row.baseline is None or arm not in row.changes or row.changes[arm].verdict is None:
                continue
            paired = True
            if is_share(row) and row.baseline.score:
                low, high = bounds(row, arm) or (0.0, 0.0)
                control = str(run.steering.get("control") or "")
                scores = (row.baseline.score, run.score)
                changes.append(VoteChange(short(row.child, names), panels[id(row)], *scores, low, high, control))
    if not changes:
        why = "that takes a sweep, or a run of a set with its baseline"
        if voted:
            why = "no vote is paired with a baseline by document (run both with --log_samples)"
        if paired:
            why = "no baseline is a share above 0"
        return f"no change by vote, for {why}."
    title = f"{group.name}: what the vote over all strengths changes"
    caption = (
        "Relative to the child without steering. A vote over the strengths of a random vector, or over unsteered "
        "samples, costs as much: what only the vector's vote gains is the concept's."
    )
    return [Picture(f"vote_change-{group.name}", title, caption, lambda: vote_change(changes, title))]


def _agreements(group: Group, sheets: list[Sheet], names: Mapping[str, str]) -> list[Picture] | str:
    found = []
    for sheet in sheets:
        points = [point for view in _compared(sheet.views) for point in _agreement(view)]
        if points:
            found.append(_agreement_picture(group, sheet.row, names, points))
    if not found:
        return (
            "no agreement of votes, for that takes a vote over documents that are right or wrong, with every "
            "response in the record (a sweep, or a set without vote_early_stop)."
        )
    return found


def _agreement_picture(group: Group, row: Row, names: Mapping[str, str], points: list[Agreement]) -> Picture:
    name = f"agreement-{group.name}-{short(row.child, names)}"
    title = f"{group.name}: is the vote right where the answers agree?"
    caption = (
        f"{short(row.child, names)}. To the right are documents to which most strengths gave the same answer (the same "
        "text). Above the dotted line, votes are right more often than their answers agree. Of several random vectors, "
        "the first is drawn."
    )
    return Picture(name, title, caption, lambda: agreement(points, title))


def _agreement(view: View) -> list[Agreement]:
    """Of every document, or of none: those that an early stop left open are no random choice."""
    if not view.voted or not view.is_binary or not view.voters:
        return []
    points = []
    for cells, vote in zip(view.cells, view.voted, strict=True):
        answers = [cell.answer for place in view.voters if (cell := cells[place])]
        if vote is None or vote.score is None or len(answers) < len(view.voters):
            return []
        share = 0.0 if vote.answer is None else answers.count(vote.answer) / len(answers)
        points.append(Agreement(share, vote.score == 1, view.control))
    return points


def _compared(views: list[View]) -> list[View]:
    """The vector and one control, the first random vector or else the samples: more cannot be told apart."""
    found = [view for view in views if not view.control]
    for kind in ("random", "self-consistency"):
        found += [view for view in views if view.control.startswith(kind)]
    return found[:2]


def _doses(group: Group, rows: list[Row], panels: Panels, names: Mapping[str, str]) -> list[Picture] | str:
    doses: dict[tuple[str, str, str], dict[tuple[float, int], BlockDose]] = {}
    for row in rows:
        for run in row.runs.values():
            if run.steering.get("control") or run.steering.get("alpha_per_layer"):
                continue
            for alpha, blocks in (run.steering.get("doses") or {}).items():
                for block, told in blocks.items():
                    if float(alpha):
                        dose = BlockDose(float(alpha), int(block), told["dose"], told.get("survival"))
                        found = doses.setdefault((short(row.child, names), panels[id(row)], row.unit), {})
                        found.setdefault((dose.alpha, dose.block), dose)
    if not doses:
        return (
            "no dose by block, for no result file has `steering.doses`: they are measured where responses are "
            "generated, not where they come from a record."
        )
    return [
        _dose_picture(group, child, parent, unit, list(found.values()))
        for (child, parent, unit), found in doses.items()
    ]


def _dose_picture(group: Group, child: str, parent: str, unit: str, doses: list[BlockDose]) -> Picture:
    title = f"{group.name}: what the strengths mean in each block"
    caption = (
        f"{child}, vector from {parent}. One α is a long step in a block whose outputs are short, and none where they "
        "are long; and what the dtype rounds away was never added. Both are measured on the run's own positions."
    )
    return Picture(f"dose_by_block-{group.name}-{child}", title, caption, lambda: dose_by_block(doses, title, unit))


def _panels(rows: list[Row], names: Mapping[str, str]) -> dict[int, str]:
    """What a panel calls a row's parent: with the vector, and with the baseline's place, where others share its name.

    Single runs of one vector, which are rows of their own, share a panel.
    """
    steered = [row for row in rows if row.runs]
    found = {id(row): short(row.parent, names) for row in steered}
    for more in (lambda row: row.vector, lambda row: str(row.baseline.path.parent) if row.baseline else "no baseline"):
        places: dict[tuple[str, str], set[tuple[str, object]]] = {}
        for row in steered:
            places.setdefault((row.child, found[id(row)]), set()).add((row.vector, id(row.baseline)))
        found = {
            id(row): f"{found[id(row)]} ({more(row)})" if len(places[row.child, found[id(row)]]) > 1 else found[id(row)]
            for row in steered
        }
    return found


def _counts(view: View) -> dict[float, Count]:
    """Strength -> right documents, where all are known."""
    found = {}
    for place, alpha in enumerate(view.alphas):
        scores = [cells[place].score if cells[place] else None for cells in view.cells]  # type: ignore[union-attr]
        if alpha and scores and None not in scores:
            found[alpha] = Count(scores.count(1.0), len(scores))
    return found


def _count(score: float | None, n: int) -> Count | None:
    """Right documents, where a score is a share of them."""
    if score is None or not n or not 0 <= score <= 1:
        return None
    right = round(score * n)
    return Count(right, n) if abs(score * n - right) < 1e-6 else None


def _bare(control: str) -> str:
    return "" if control == "vector" else control


def _named_apart(pictures: list[Picture]) -> list[Picture]:
    """Names as file systems take them, with a number where two are the same."""
    seen: Counter[str] = Counter()
    found = []
    for picture in pictures:
        name = re.sub(r"[^\w.-]+", "_", picture.name, flags=re.ASCII)[:120]
        name = re.sub(r"_*-_*", "-", name).strip("_.-")
        seen[name.casefold()] += 1
        count = seen[name.casefold()]
        found.append(replace(picture, name=name if count == 1 else f"{name}-{count}"))
    return found
