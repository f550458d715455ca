"""Every response to a row's documents: the baseline's, one per strength, and the vote's.

Responses of runs are in their samples; those of all other strengths are in the record, where a run left one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from tqdm import tqdm

from lm_eval_steer.axis.record import Line
from lm_eval_steer.compare.arms import BASELINE, Arm
from lm_eval_steer.compare.costs import Records
from lm_eval_steer.compare.pairs import Key, as_asked, is_binary, keyed
from lm_eval_steer.compare.rows import Row
from lm_eval_steer.compare.run import Run
from lm_eval_steer.compare.runs import read_documents
from lm_eval_steer.compare.samples import Document, show_choices
from lm_eval_steer.compare.scores import Response, Scores
from lm_eval_steer.interventions.alphas import alpha_name, alpha_order
from lm_eval_steer.interventions.controls import kind_of


@dataclass
class View:
    """A row's vector, or one of its controls, over all its strengths.

    Attributes:
        control: `random:1`, ..., or a baseline of another kind, as `shots:5`; empty for the vector itself.
        kind: of the control, `random` for all its seeds, or that baseline; empty for the vector itself.
        names: strengths in order, as `alpha_name` has them; numbers of samples for self-consistency.
        alphas: the same as numbers; None for what is no strength alone.
        best: place of the strength that speaks for the view: the best of a sweep, or the only one; None without one.
        cells: per document, per strength; None where there is no response.
        voted: per document; None without a vote.
        voters: places of the responses that the vote is of; empty without a vote, and where one is not known.
        votes: how many the vote is of; 0 without one.
    """

    control: str
    kind: str
    names: list[str]
    alphas: list[float | None]
    best: int | None
    cells: list[list[Response | None]]
    voted: list[Response | None] | None
    voters: list[int]
    votes: int


@dataclass
class Responses:
    """A row's documents with every response to them.

    Attributes:
        row: of the leaderboard.
        documents: in the order of the baseline's, or of another run's where there is none.
        baseline: per document; None where there is no baseline.
        views: the vector, then its controls; empty for a baseline alone.
        has_record: whether responses of strengths came from a record.
        is_binary: whether every document is right or wrong, and right is better.
    """

    row: Row
    documents: list[Document]
    baseline: list[Response | None]
    views: list[View]
    has_record: bool
    is_binary: bool


def read_responses(rows: Iterable[Row], records: Records) -> list[Responses]:
    """The documents of every row that has samples.

    Raises:
        SteeringError: where samples were cut or changed since the rows were read.
    """
    shown = tqdm(list(rows), desc="responses", unit="row", delay=2, leave=False, disable=None)
    return [found for row in shown if (found := _of_row(row, records))]


def _of_row(row: Row, records: Records) -> Responses | None:
    runs = row.all_runs
    documents = {arm: keyed(read_documents(run)) for arm, run in runs.items()}
    first = next((found for found in documents.values() if found), None)
    if first is None:
        return None
    for arm, run in runs.items():  # others have prompts of their own
        if arm.other is not None and row.baseline and run.documents == row.baseline.documents:
            documents[arm] = dict(zip(as_asked(first, documents[arm]), documents[arm].values(), strict=True))
    order = list(first)
    binary = all(is_binary(run.samples) for run in runs.values() if run.samples) and row.any_run.higher_is_better
    recorded = {arm: _by_document(records.of(run, row.parts.get(arm)), documents[arm]) for arm, run in runs.items()}
    given = {arm: _given(documents[arm], recorded[arm]) for arm in runs}
    targets = {key: document.target for key, document in first.items()}
    scores = Scores([(key, one) for found in given.values() for key, one in found.items()], targets, binary)
    baseline = [given.get(BASELINE, {}).get(key) for key in order]
    responses = Responses(row, list(first.values()), baseline, [], any(recorded.values()), binary)
    arms: dict[str, list[Arm]] = {}
    for arm in row.runs:
        arms.setdefault(arm.contender if arm.control or arm.other else "", []).append(arm)
    for control, names in arms.items():
        cells: dict[str, dict[Key, Response]] = {}
        for arm in names:
            for key, label, line in recorded[arm]:
                text = _text(line, first[key]) if key in first else ""
                response = Response(text, line.answer, scores.score(key, text, line.answer), line.tokens)
                cells.setdefault(label, {}).setdefault(key, response)
        best = None
        for arm in names:
            if label := _label(row.runs[arm], arm):
                cells[label] = cells.get(label, {}) | given[arm]
                if best is None or arm.role == "best":
                    best = label
        vote = next((arm for arm in names if len(row.runs[arm].alphas) > 1), None)
        labels = sorted(cells, key=_order)
        responses.views.append(
            View(
                control=control,
                kind=names[0].control or names[0].other or "",
                names=labels,
                alphas=[_alpha(label) if not kind_of(control).draws else None for label in labels],
                best=labels.index(best) if best in labels else None,
                cells=[[cells[label].get(key) for label in labels] for key in order],
                voted=[given[vote].get(key) for key in order] if vote else None,
                voters=_voters(row.runs[vote], control, labels) if vote else [],
                votes=len(row.runs[vote].alphas) if vote else 0,
            )
        )
    return responses


def _voters(run: Run, control: str, labels: list[str]) -> list[int]:
    """Where the strengths, or the samples, of a vote are among the labels, if all of them are there."""
    sampled = kind_of(control).draws
    wanted = [str(place) if sampled else alpha_name(alpha) for place, alpha in enumerate(run.alphas)]
    return [labels.index(label) for label in wanted] if set(wanted) <= set(labels) else []


def _by_document(lines: Iterable[Line], documents: dict[Key, Document]) -> list[tuple[Key, str, Line]]:
    """Lines with the document that they answer and the name of their strength; a task's repeats count once."""
    places = {(one.task, one.request, one.doc_id): key for key, one in documents.items()}
    found = []
    for line in lines:
        key = places.get((line.task, line.prompt, line.doc_id))
        if key is not None and not line.repeat:
            kind, _, number = line.variant.partition(" ")
            found.append((key, number if kind_of(kind).draws else alpha_name(line.alpha), line))
    return found


def _given(documents: dict[Key, Document], recorded: list[tuple[Key, str, Line]]) -> dict[Key, Response]:
    """What a run answered. The record's answer of the same response counts: it is what votes are of."""
    lines = {(key, _text(line, documents[key])): line for key, _, line in reversed(recorded)}
    found = {}
    for key, document in documents.items():
        response = document.response
        if line := lines.get((key, response.text)):
            response = replace(response, answer=line.answer, tokens=line.tokens)
        found[key] = response
    return found


def _text(line: Line, document: Document) -> str:
    return (line.response or "") if line.scores is None else show_choices(document.choices, line.scores)


def _label(run: Run, arm: Arm) -> str:
    """Name of a run's one strength; empty for a vote."""
    if len(run.alphas) > 1:
        return ""
    return "per-layer" if arm.role == "per-layer" else alpha_name(run.alphas[0])


def _alpha(label: str) -> float | None:
    return None if label == "per-layer" else float(label)


def _order(label: str) -> tuple[bool | float, ...]:
    """Strengths by their size, then what is no strength alone."""
    alpha = _alpha(label)
    return (True,) if alpha is None else (False, *alpha_order(alpha))
