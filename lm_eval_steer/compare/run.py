"""A run: one task of one result file, as comparisons see it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from lm_eval_steer.compare.conditions import digest_of
from lm_eval_steer.compare.metrics import Metric
from lm_eval_steer.compare.samples import Logged, Sample, is_number
from lm_eval_steer.compare.stats.aggregates import AGGREGATES, OF_METRICS, fit, influences
from lm_eval_steer.interventions.controls import Control, control_in, read_control


@dataclass(frozen=True)
class Run:
    """One task of one result file.

    Attributes:
        path: the result file.
        task: name of the task.
        child: the evaluated model.
        arguments: everything of the command that tells it from other runs of the task, as JSON.
        conditions: what runs must share to be compared, beside documents and prompts: its name -> its value.
        own_conditions: the same for what differs between children by nature (template, revision, model arguments).
        steering: what `steered-hf` recorded; empty for another model class.
        metric: the one that it is judged by, the task's first or another, with the filter that it was computed over.
        score: its value.
        n: documents.
        samples: one per document; empty without --log_samples, and where nothing that is known makes the score of what
            was logged.
        higher_is_better: which way the metric points.
        vectors: name of the vector file; empty without one.
        record: its record's folder, as the command named it; empty without one.
        seconds: that the command took, loading included; None where the file does not say.
        lm_eval_version: of the harness that wrote the file; empty where it does not say.
        has_samples_file: whether samples were logged at all.
        others: the task's other metrics that are finite numbers, each with its filter, in the order of the file.
        logged: its documents with what was logged of them by every metric.
        aggregation: of the metric, as that of `Metric`.
        aggregate: what makes the score of the documents together, a key of `AGGREGATES`; None where it is the mean of a
            number per document, or where there are no samples.
        members: of a group, its tasks; empty for a task.
        group: in which it lies, in its result file: the outermost one that has a score; None for that one, and for a
            task by itself.
        by_task: whether it is pooled from several result files, of tasks that may have strengths of their own.
    """

    path: Path
    task: str
    child: str
    arguments: str
    conditions: dict[str, str]
    own_conditions: dict[str, str]
    steering: dict[str, Any]
    metric: str
    score: float
    n: int
    samples: list[Sample]
    higher_is_better: bool
    vectors: str
    record: str
    seconds: float | None
    lm_eval_version: str
    has_samples_file: bool
    others: Mapping[str, Metric]
    logged: Sequence[Logged] = ()
    aggregation: str = ""
    aggregate: str | None = None
    members: tuple[str, ...] = ()
    group: str | None = None
    by_task: bool = False
    _by: dict[str, Run] = field(init=False, repr=False, compare=False, default_factory=dict)

    @property
    def metrics(self) -> tuple[str, ...]:
        """All of them, the one that it is judged by first."""
        return self.metric, *self.others

    def by(self, metric: str) -> Run:
        """The run judged by another of its metrics."""
        if metric == self.metric:
            return self
        if metric not in self._by:
            other = self.others[metric]
            before = {self.metric: Metric(self.score, self.higher_is_better, self.aggregation)}
            samples, aggregate = by_metric(self.logged, metric, other.score, other.aggregation)
            self._by[metric] = replace(
                self,
                metric=metric,
                score=other.score,
                higher_is_better=other.higher_is_better,
                aggregation=other.aggregation,
                aggregate=aggregate,
                samples=samples,
                others={name: told for name, told in (before | dict(self.others)).items() if name != metric},
                conditions=self.conditions | {"metric": metric},
            )
        return self._by[metric]

    def with_documents(self, score: float, logged: Sequence[Logged], others: Mapping[str, Metric]) -> Run:
        """The run with another outcome: its score, its documents and its other metrics."""
        samples, aggregate = by_metric(logged, self.metric, score, self.aggregation)
        return replace(self, score=score, samples=samples, aggregate=aggregate, logged=logged, others=others)

    @cached_property
    def is_share(self) -> bool:
        """Whether the score, and every document's where it is their mean, lies between 0 and 1, and is a share."""
        if self.aggregate is not None:
            return AGGREGATES[self.aggregate].is_share and 0 <= self.score <= 1
        if self.members:  # whose documents may count for more than one
            return 0 <= self.score <= 1 and all(one.score >= 0 for one in self.samples)
        return all(0 <= value <= 1 for value in [one.score for one in self.samples] or [self.score])

    @property
    def alphas(self) -> tuple[float, ...]:
        """Strengths of the run, by which its responses voted where they are several; without steering it is 0."""
        alpha = self.steering.get("alpha", 0.0)
        return tuple(map(float, alpha)) if isinstance(alpha, list) else (float(alpha),)

    @property
    def has_strength(self) -> bool:
        """Whether any of them does anything: 0 does under operators that set a value, as newer files say."""
        return any(self.alphas) or bool(self.steering.get("steers"))

    @property
    def settings(self) -> list[str]:
        """Digests of its settings, which its lines in a record bear; empty where the file does not say."""
        return list(self.steering.get("settings") or ())

    @property
    def control(self) -> Control | None:
        """What took the vector's place, also by the passport of its file; None for the vector itself and for none."""
        return read_control(self.steering.get("control") or None) or (
            control_in(self.passport) if self.has_strength else None
        )

    @property
    def passport(self) -> dict[str, Any]:
        """Of the vector file; empty without one."""
        return dict(self.steering.get("passport") or {})

    @property
    def weights(self) -> str | None:
        """Digest of the child's checkpoint; None where the file does not say."""
        return self.steering.get("weights")

    @cached_property
    def documents(self) -> str | None:
        """Digest of the documents, in any order; None where samples do not tell."""
        return digest_of([one.key[0] for one in self.logged])

    @cached_property
    def prompts(self) -> str | None:
        """Digest of the documents with their prompts, in any order; None where samples do not tell."""
        return digest_of([" ".join(one.key) for one in self.logged])


def by_metric(logged: Sequence[Logged], metric: str, score: float, aggregation: str) -> tuple[list[Sample], str | None]:
    """The documents by one metric, and what makes its score of them; none where nothing that is known does."""
    items = [one.items[metric] for one in logged]
    if not items:
        return [], None
    numbers = [float(item) for item in items if is_number(item)]
    aggregate = None
    if len(numbers) < len(items) or (math.isfinite(score) and not _is_mean(numbers, score)):
        name = metric.split(",")[0]
        several = len({one.key[0] for one in logged}) > 1
        aggregate = fit(items, score, aggregation or OF_METRICS.get(name, name)) if several else None
        if aggregate is None:
            return [], None
        numbers = influences(AGGREGATES[aggregate].read(items)).tolist()
    samples = [
        Sample(one.key, one.response, number, item) for one, number, item in zip(logged, numbers, items, strict=True)
    ]
    return samples, aggregate


def _is_mean(numbers: Sequence[float], score: float) -> bool:
    return math.isclose(math.fsum(numbers) / len(numbers), score, rel_tol=1e-6, abs_tol=1e-9)
