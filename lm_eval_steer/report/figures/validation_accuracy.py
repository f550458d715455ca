"""Accuracy by strength on validation rows, where a sweep chose the strength."""

from __future__ import annotations

from lm_eval_steer.report.figures.accuracy import Count, Curve, pictures
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
        validation = next(iter(row.parts.values())).validation if row.runs and row.parts else {}
        scores, n = validation.get("scores") or {}, validation.get("n") or 0
        searched |= bool(scores)
        counted = {
            control: {float(alpha): count for alpha, score in found.items() if (count := count_of(score, n))}
            for control, found in scores.items()
        }
        baseline = counted.get("vector", {}).pop(0.0, None)
        for control, points in counted.items():
            if baseline and points:
                kind = "" if control == "vector" else control.partition(":")[0]
                curves.append(Curve(results.child(row), results.parent(row), points, baseline, kind, row.unit))
    if not curves:
        why = "its scores are no shares of right documents" if searched else "that takes a sweep"
        return f"no accuracy by strength on validation rows, for {why}."
    return pictures(curves, results.title("accuracy by strength, validation rows"), _CAPTION)


def count_of(score: float | None, n: int) -> Count | None:
    """Right documents, where a score is a share of them."""
    if score is None or not n or not 0 <= score <= 1:
        return None
    right = round(score * n)
    return Count(right, n) if abs(score * n - right) < 1e-6 else None


VALIDATION_ACCURACY = FigureKind("a sweep", find)
