"""Scores of a group's recorded responses, by the harness's own rule of the group over those of its members."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from lm_eval.api.instance import Instance
from lm_eval.config.group import AggMetricConfig

from lm_eval_steer.axis.record import Line
from lm_eval_steer.compare.lengths import Lengths, add_up
from lm_eval_steer.sweep.metric import rule_of
from lm_eval_steer.sweep.requests import GroupRequests, Requests
from lm_eval_steer.sweep.score import Answers, AnyScorer, Score, Scorer, no_number


@dataclass(frozen=True)
class GroupAnswers:
    """The responses of one variant to all members; attributes as those of `Answers`.

    Attributes:
        of: member -> its responses.
    """

    of: Mapping[str, Answers]

    @property
    def first(self) -> Line:
        return next(iter(self.of.values())).first

    @property
    def lines(self) -> int:
        return sum(one.lines for one in self.of.values())

    @property
    def tokens(self) -> int | None:
        return _sum(one.tokens for one in self.of.values())

    @property
    def prompt_tokens(self) -> int | None:
        return _sum(one.prompt_tokens for one in self.of.values())

    @property
    def lengths(self) -> Lengths | None:
        return add_up(one.lengths for one in self.of.values())

    @property
    def n(self) -> int:
        return sum(one.n for one in self.of.values())


class GroupScorer:
    """As `Scorer`, for all members of a group: each has a scorer of its own.

    Args:
        requests: of the pass.
        metric: that scores are of, `name,filter`; every member has it.
        count: as that of `Scorer`.
    """

    def __init__(
        self, requests: Requests, metric: str, count: Callable[[Sequence[Instance]], int] | None = None
    ) -> None:
        self.requests, self.metric = requests, metric
        self._of = {one.name: Scorer(one, metric, count) for one in requests.parts}
        (name, _, kept), rule = metric.partition(","), rule_of(requests.task.aggregate_metric_list, metric)
        self._group = copy.copy(requests.task)
        self._group.aggregate_metric_list = [AggMetricConfig(name, [kept], rule.aggregation, rule.weight_by_size)]

    @property
    def variants(self) -> Mapping[str, GroupAnswers]:
        """Digest of a variant's settings -> its responses."""
        found: dict[str, dict[str, Answers]] = {}
        for name, scorer in self._of.items():
            for settings, answers in scorer.variants.items():
                found.setdefault(settings, {})[name] = answers
        return {settings: GroupAnswers(of) for settings, of in found.items()}

    def add(self, line: Line) -> None:
        """Take a line in; it is scored by the next `settle`."""
        self._of[line.task].add(line)

    def settle(self) -> None:
        """Score the documents to which all responses have come since the last time."""
        for scorer in self._of.values():
            scorer.settle()

    def score(self, variant: GroupAnswers) -> Score | None:
        """The group's score over the documents that are scored; None before each member has one."""
        found = {name: self._of[name].score(answers) for name, answers in variant.of.items()}
        if len(found) < len(self._of) or None in found.values():
            return None
        scores = {name: {self.metric: one.value, "sample_len": one.n} for name, one in found.items() if one}
        return Score(self.metric, float(self._group.aggregate(scores)[self.metric]), variant.n)

    def value(self, variant: GroupAnswers) -> Score:
        """As `score`, once all responses are there.

        Raises:
            SteeringError: where the metric is no number.
        """
        score = self.score(variant)
        if score is None:
            raise no_number(self.requests.name, self.metric)
        return score

    def higher_is_better(self, score: Score) -> bool:
        """Which way the metric points, which is the same for all members."""
        return next(iter(self._of.values())).higher_is_better(score)


def make_scorer(
    requests: Requests, metric: str | None, count: Callable[[Sequence[Instance]], int] | None = None
) -> AnyScorer:
    """The scorer of a pass over a task, or over all members of a group."""
    if isinstance(requests, GroupRequests):
        assert metric is not None  # every group has one
        return GroupScorer(requests, metric, count)
    return Scorer(requests, metric, count)


def _sum(counts: Iterable[int | None]) -> int | None:
    found = list(counts)
    return None if None in found else sum(one or 0 for one in found)
