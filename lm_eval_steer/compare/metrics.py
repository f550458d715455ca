"""Metrics by name: `exact_match,strict-match` is a metric with the filter whose output it was computed over."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MOST_SHOWN = 2
"""Metrics beside the one that judges which have tables unasked; of more, a sentence says what they are."""


@dataclass(frozen=True)
class Metric:
    """What a run reached by one metric.

    Attributes:
        score: its value.
        higher_is_better: which way it points.
        aggregation: what the task's configuration says of how documents become the score; empty where it says nothing.
    """

    score: float
    higher_is_better: bool
    aggregation: str = ""


def choose_metric(known: Iterable[str], given: str) -> str | None:
    """The one of `known` that is meant: all of its name, or its name before the filter; None where there is none."""
    wanted = given.strip()
    return next((one for one in known if wanted in (one, one.partition(",")[0])), None)


def show_metrics(known: Sequence[str]) -> str:
    """As a person would give them: `acc, acc_norm`, and with their filters where there are several."""
    names = [one.partition(",")[0] for one in known]
    alone = len(set(names)) == len(names)
    return (", ".join(names) if alone else "; ".join(known)) or "none"


def aggregations(config: Mapping[str, Any]) -> dict[str, str]:
    """Name of a metric -> how the task's configuration in a result file says that documents become its score.

    That is a name of the harness, as in `perplexity`, or the source text of a function of the task's own.
    """
    listed = config.get("metric_list")
    told = [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
    return {str(one.get("metric")): str(one["aggregation"]) for one in told if one.get("aggregation")}


def tell_hidden(task: str, metrics: Sequence[str]) -> str:
    """A sentence on metrics that have no table unasked."""
    return f"{task} has {len(metrics)} more metrics ({show_metrics(metrics)}): --metrics shows a table of each."
