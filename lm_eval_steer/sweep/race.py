"""`--search race`: strengths are searched on validation documents in growing rounds, which the worse ones leave."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from lm_eval.api.metrics import mean

from lm_eval_steer.compare.stats.race import Race, rounds_of
from lm_eval_steer.compare.sweep_file import finite
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.alphas import alpha_name
from lm_eval_steer.sweep.contenders import Contender
from lm_eval_steer.sweep.passes import Asked, Pass
from lm_eval_steer.sweep.requests import Requests
from lm_eval_steer.sweep.score import choose

SEARCHES = ("full", "race")
"""What `--search` takes: every strength on all validation documents, or a race."""


def refuse_no_mean(requests: Requests, metric: str | None) -> None:
    """Refuse a metric that is no mean of a number per document, of which a race knows nothing before the end.

    Args:
        requests: of the task.
        metric: that strengths are chosen by, `name,filter`; None for the task's first.

    Raises:
        SteeringError: then.
    """
    aggregations = requests.task.aggregation()
    name = (metric or next(iter(aggregations), "")).split(",")[0]
    if aggregations.get(name, mean) is not mean:
        raise SteeringError(
            f"--search race compares documents one by one, and {name} of {requests.name} is a score of all of them "
            "together: leave --search out, or name another metric with --metric"
        )


def search_by_race(
    validation: Requests,
    contenders: Sequence[Contender],
    alphas: Sequence[float],
    seed: int,
    ask: Callable[[Requests, Mapping[str, tuple[float, ...]], int], tuple[Pass, list[Asked]]],
) -> dict[str, Any]:
    """Race the strengths of each contender, all of them in shared passes.

    A round asks for all its documents again; those of earlier rounds are in the record, so a start that goes on from a
    killed one runs the same races.

    Args:
        validation: the requests of the task.
        contenders: with a race each.
        alphas: the strengths, none of which is 0.
        seed: of the order of the documents.
        ask: runs a pass over some of the requests: contender -> its strengths, and the number of the round. Gives what
            was asked of each, which may include 0, and the pass.

    Returns:
        what goes into the task's `validation` in sweep.json.

    Raises:
        SteeringError: where a document has no number for a score.
    """
    documents = sorted({int(one.doc_id or 0) for one in validation.instances})
    random.Random(seed).shuffle(documents)
    races = {one.name: Race(len(alphas), len(documents)) for one in contenders}
    scores: dict[str, dict[str, float]] = {name: {} for name in races}
    counts: dict[str, dict[str, int]] = {name: {} for name in races}
    metric, higher = "", True
    for number, size in enumerate(rounds_of(len(documents)), start=1):
        running = {name: tuple(alphas[place] for place in race.left) for name, race in races.items() if race.is_open}
        if not running:
            break
        now = set(documents[:size])
        part = replace(validation, instances=[one for one in validation.instances if int(one.doc_id or 0) in now])
        done, asked = ask(part, running, number)
        for name, plan in asked:
            values = []
            for alpha, answers in zip(plan.alphas, done.answers(name, plan), strict=True):
                found = done.scorer.value(answers)
                metric, higher = found.metric, done.scorer.higher_is_better(found)
                scores[name][alpha_name(alpha)], counts[name][alpha_name(alpha)] = found.value, found.n
                if alpha:
                    refuse_no_mean(validation, metric)  # of a task's own class only responses tell which is the first
                    values.append(_by_document(answers, metric, documents[:size], validation.name))
            races[name].judge(np.array(values) if higher else -np.array(values))
    best = {
        name: choose(in_the_end({alpha: of[alpha_name(alpha)] for alpha in alphas}, counts[name]), higher)
        for name, of in scores.items()
    }
    facts = {"metric": metric, "higher_is_better": higher, "n": len(documents)}
    return facts | {"scores": finite(scores), "documents": counts, "best": best}


def in_the_end(scores: Mapping[float, float | None], documents: Mapping[str, int] | None) -> dict[float, float | None]:
    """The strengths that a search chooses from, with their scores: of a race those with the most documents.

    Args:
        scores: of all strengths.
        documents: of a race, on how many each was scored; None for a full search.
    """
    if not documents:
        return dict(scores)
    most = max(documents.get(alpha_name(alpha), 0) for alpha in scores)
    return {alpha: score for alpha, score in scores.items() if documents.get(alpha_name(alpha), 0) == most}


def _by_document(answers: Any, metric: str, documents: Sequence[int], task: str) -> list[float]:
    """[documents], the metric of each response."""
    try:
        return [float(answers.metrics[document][metric]) for document in documents]
    except (KeyError, TypeError, ValueError):
        raise SteeringError(
            f"--search race compares documents one by one, and {metric.split(',')[0]} of {task} is not a number for "
            "each: leave --search out, or name another metric with --metric"
        ) from None
