"""Accuracy by strength on validation rows, where a sweep chose the strength."""

from __future__ import annotations

from lm_eval_steer.compare.counts import on_validation_rows
from lm_eval_steer.report.figures.accuracy import Curve, pictures
from lm_eval_steer.report.figures.results import FigureKind, Picture, Results

_CAPTION = (
    "The strength is chosen here, on documents that the test has not seen. The highest point of many is high by luck, "
    "too: what it is worth is what the test says."
)


def find(results: Results) -> list[Picture] | str:
    """A curve per arm of each sweep."""
    curves: list[Curve] = []
    searched = False
    for row in results.rows:
        baseline, found = on_validation_rows(row) or (None, [])
        searched |= bool(found)
        for kind, points in found:
            if baseline and points:
                curves.append(Curve(results.child(row), results.parent(row), points, baseline, kind, row.unit))
    if not curves:
        why = "its scores are no shares of right documents" if searched else "that takes a sweep"
        return f"no accuracy by strength on validation rows, for {why}."
    return pictures(curves, results.title("accuracy by strength, validation rows"), _CAPTION)


VALIDATION_ACCURACY = FigureKind("a sweep", find, by_pair=True)
