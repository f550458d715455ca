"""What results say of one vector, known by its fingerprint."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from lm_eval_steer.compare.counts import on_validation_rows
from lm_eval_steer.compare.responses import read_responses
from lm_eval_steer.compare.rows import Row
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.alphas import alpha_name
from lm_eval_steer.report.figures import figure_bytes, find_pictures
from lm_eval_steer.report.figures.style import need_matplotlib
from lm_eval_steer.report.tables import Leaderboard, render


def of_vector(board: Leaderboard, fingerprint: str) -> Leaderboard:
    """The rows of a leaderboard that a vector steered; none where it steered in none of its runs."""
    rows = [
        row
        for row in board.rows
        if any(arm.control is None and run.steering.get("vector") == fingerprint for arm, run in row.runs.items())
    ]
    return replace(board, rows=rows)


def table_and_figure(board: Leaderboard, folders: list[Path]) -> tuple[str, str, bytes]:
    """The rows of a vector as Markdown, and the first figure that they allow, its title and its bytes as PNG.

    Raises:
        SteeringError: where the vector steered nothing there, nothing can be drawn, or matplotlib is missing.
    """
    need_matplotlib()
    where = ", ".join(map(str, folders))
    if not board.rows:
        raise SteeringError(
            f"--sweep {where} has no run of this vector, by its fingerprint: name a sweep that steers it"
        )
    pictures, _ = find_pictures(board, read_responses(board.rows, board.records))
    if not pictures:
        raise SteeringError(f"nothing in {where} can be drawn of this vector: name the folder of a sweep")
    return render(board, "markdown"), pictures[0].title, figure_bytes(pictures[0].draw(), "png")


def tell_validation(board: Leaderboard) -> str:
    """The accuracy on validation rows that each row's strength was chosen by, in one cell."""
    return "; ".join(dict.fromkeys(one for row in board.rows for one in _validated(row)))


def _validated(row: Row) -> Iterator[str]:
    searched = on_validation_rows(row)
    if searched is None or row.best_alpha is None:
        return
    baseline, found = searched
    chosen = next((points for kind, points in found if not kind), {}).get(row.best_alpha)
    if chosen is not None:
        unsteered = f", unsteered {baseline.share:.1%}" if baseline else ""
        strength = f"{'dose' if row.unit == 'dose' else 'alpha'}={alpha_name(row.best_alpha)}"
        yield f"{row.group.name}: {chosen.share:.1%} of {chosen.n} at {strength}{unsteered}"
