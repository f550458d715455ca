"""All cells of the study at a glance: a row per child and task."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from cells import CELLS, MODELS, REGIMES, SHORT
from lines import Line, Summary, lines_of
from words import engine, percent


def matrix(found: Mapping[str, Summary]) -> Iterator[str]:
    """What each kind of arm changed, in points, with its verdict where there is evidence."""
    head = ("task", "child", "n", "unsteered", "own", "rotation", "random texts", "cut", "random", "prompt", "by")
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for cell in sorted(CELLS, key=lambda cell: (list(REGIMES).index(cell.task), list(MODELS).index(cell.child))):
        if cell.name not in found or not cell.is_main:
            continue
        lines, parent = lines_of(found[cell.name]), SHORT[cell.parents[0]]
        keys = ("own best", f"{parent} best", f"{parent} map-shuffled best", "cut best", "random best", "prompt")
        told = [f"`{cell.task}`", MODELS[cell.child], str(found[cell.name]["rows"][0]["n"])]
        told += [percent(lines["baseline"].score["score"]), *(_effect(lines.get(key)) for key in keys)]
        told.append(engine(found[cell.name]))
        yield f"| {' | '.join(told)} |"


def _effect(line: Line | None) -> str:
    if line is None:
        return ""
    verdict = line.change["verdict"]
    points = f"{100 * line.change['change']:+.1f}"
    if line.seeds > 1:
        return f"{points} ({verdict})" if verdict != f"0 of {line.seeds} help, 0 of {line.seeds} hurt" else points
    return f"{points} {verdict}" if verdict in ("helps", "hurts") else points
