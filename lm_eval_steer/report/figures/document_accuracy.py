"""Accuracy by strength on test documents, of strengths whose every response is known to be right or wrong."""

from __future__ import annotations

from lm_eval_steer.compare.counts import Count, on_documents
from lm_eval_steer.compare.pairs import count_right
from lm_eval_steer.interventions.controls import kind_of
from lm_eval_steer.report.figures.accuracy import Curve, pictures
from lm_eval_steer.report.figures.results import FigureKind, Picture, Results


def find(results: Results) -> list[Picture] | str:
    """A curve per arm with two strengths or more; single runs of one vector are joined."""
    curves: dict[tuple[str, ...], Curve] = {}
    baselines: dict[tuple[str, str], Count] = {}
    for one in results.responses:
        row = one.row
        counted = count_right(row.baseline.samples) if row.baseline else None
        if counted is None or not row.runs:
            continue
        child, parent = results.child(row), results.parent(row)
        baseline = baselines.setdefault((child, parent), counted)
        for view in one.views if one.is_binary else ():
            if kind_of(view.kind).steers:
                curve = Curve(child, parent, {}, baseline, view.kind, row.unit)
                curves.setdefault((child, parent, row.unit, view.control), curve).points.update(on_documents(view))
    drawn = [curve for curve in curves.values() if len(curve.points) > 1]
    if not drawn:
        return (
            "no accuracy by strength on test documents, for that takes two strengths or more of which "
            "every response is known to be right or wrong (a sweep, or a set with its record, and --log_samples)."
        )
    caption = "For looking only: to pick the best of these would be a choice on the test set."
    return pictures(drawn, results.title("accuracy by strength, test documents"), caption)


DOCUMENT_ACCURACY = FigureKind("two strengths whose every response is known to be right or wrong", find)
