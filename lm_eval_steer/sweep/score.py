"""Scores of the recorded responses to a task, per variant, by the harness's own filters, metrics and aggregations."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from lm_eval.api.instance import Instance
from lm_eval.api.metrics import mean
from lm_eval.api.task import ConfigurableTask

from lm_eval_steer.axis.record import Line, digest
from lm_eval_steer.compare.lengths import Lengths, add_up
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.sweep.metric import resolve
from lm_eval_steer.sweep.requests import CHOICES, ROLLING, TEXT, Requests
from lm_eval_steer.sweep.tasks import first_line
from lm_eval_steer.text import shortened


@dataclass
class Answers:
    """The responses of one variant: one strength of one control, one sample, or one profile.

    Attributes:
        first: one of its lines, which says what the variant is.
        lines: how many there are.
        tokens: generated for them; None where that is unknown.
        prompt_tokens: read for them; None where nobody counts.
        lengths: of them; None where that is unknown, and of what is scored and not written.
    """

    first: Line
    lines: int = 0
    tokens: int | None = 0
    prompt_tokens: int | None = None
    lengths: Lengths | None = None
    given: dict[int, Any] = field(default_factory=dict)
    waiting: set[int] = field(default_factory=set)
    metrics: dict[int, dict[str, Any]] = field(default_factory=dict)

    @property
    def n(self) -> int:
        """How many documents are scored."""
        return len(self.metrics)


@dataclass(frozen=True)
class Score:
    """What a variant reached.

    Attributes:
        metric: the one that strengths are chosen by, with the filter that it was computed over.
        value: its value.
        n: documents.
    """

    metric: str
    value: float
    n: int


class Given(Protocol):
    """What a variant gave, to a task or to all members of a group; attributes as those of `Answers`."""

    @property
    def first(self) -> Line: ...
    @property
    def lines(self) -> int: ...
    @property
    def tokens(self) -> int | None: ...
    @property
    def prompt_tokens(self) -> int | None: ...
    @property
    def lengths(self) -> Lengths | None: ...
    @property
    def n(self) -> int: ...


class AnyScorer(Protocol):
    """What scores a pass: a `Scorer`, or a `GroupScorer`."""

    @property
    def variants(self) -> Mapping[str, Given]: ...
    def add(self, line: Line) -> None: ...
    def settle(self) -> None: ...
    def score(self, variant: Any) -> Score | None: ...
    def value(self, variant: Any) -> Score: ...
    def higher_is_better(self, score: Score) -> bool: ...


class Scorer:
    """Collects lines of one pass over a task and scores them.

    Attributes:
        variants: digest of a variant's settings -> its responses.

    Args:
        requests: of the pass.
        metric: that scores are of, `name,filter`; None for the task's first that is a number.
        count: tells how many tokens are read for requests that one response answers; None where nobody counts.
    """

    def __init__(
        self,
        requests: Requests,
        metric: str | None = None,
        count: Callable[[Sequence[Instance]], int] | None = None,
    ) -> None:
        self.requests, self.metric = requests, metric
        self._count = count
        self._counts: dict[tuple[int, str, int], int] = {}
        self.variants: dict[str, Answers] = {}
        self._places: dict[tuple[int, str, int], list[int]] = {}
        self._documents: dict[int, list[int]] = {}
        places: dict[int, list[int]] = {}
        for place, instance in enumerate(requests.instances):
            places.setdefault(id(instance), []).append(place)
        for group in requests.questions():
            first = group[0]
            parts = [part for one in group for part in one.args] if first.request_type == CHOICES else [first.args[0]]
            key, repeat = (int(first.doc_id or 0), digest(parts)), 0
            while (*key, repeat) in self._places:
                repeat += 1
            own = [places[id(one)].pop(0) for one in group]
            self._places[(*key, repeat)] = own
            self._documents.setdefault(key[0], []).extend(own)

    def add(self, line: Line) -> None:
        """Take a line in; it is scored by the next `settle`."""
        variant = self.variants.setdefault(line.settings, Answers(line))
        more = Lengths.of([line])
        variant.lengths = add_up([variant.lengths, more]) if variant.lines else more
        variant.lines += 1
        variant.tokens = None if line.tokens is None or variant.tokens is None else variant.tokens + line.tokens
        key = line.doc_id, line.prompt, line.repeat
        places = self._places[key]
        if self._count is not None:
            if key not in self._counts:
                self._counts[key] = self._count([self.requests.instances[place] for place in places])
            variant.prompt_tokens = (variant.prompt_tokens or 0) + self._counts[key]
        responses: Sequence[Any] = [line.logprob] if line.kind == "rolling" else line.scores or [line.response]
        variant.given.update(zip(places, responses, strict=True))
        if all(place in variant.given for place in self._documents[line.doc_id]):
            variant.waiting.add(line.doc_id)

    def settle(self) -> None:
        """Score the documents to which all responses have come since the last time.

        Raises:
            SteeringError: where the task's own code fails.
        """
        for variant in self.variants.values():
            if variant.waiting:
                variant.metrics |= self._measure(sorted(variant.waiting), variant.given)
                for document in variant.waiting:
                    for place in self._documents[document]:
                        del variant.given[place]
                variant.waiting.clear()

    def score(self, variant: Answers) -> Score | None:
        """The metric over the documents that are scored; None before the first of them.

        Raises:
            SteeringError: where the task's own code fails, as `settle`.
        """
        with self._of_the_task(f"sum up {variant.n} documents"):
            return _aggregate(self.requests.task, variant.metrics, self.metric)

    def value(self, variant: Answers) -> Score:
        """As `score`, once all responses are there.

        Raises:
            SteeringError: where the metric, or every metric of the task, is no number.
        """
        score = self.score(variant)
        if score is None:
            raise no_number(self.requests.name, self.metric)
        return score

    def higher_is_better(self, score: Score) -> bool:
        """Which way the metric points."""
        return bool(self.requests.task.higher_is_better().get(score.metric.split(",")[0], True))

    def _measure(self, documents: list[int], given: dict[int, Any]) -> dict[int, dict[str, Any]]:
        """Document -> metric,filter -> value, over every filter of the task, as the harness's evaluator has them."""
        task = self.requests.task
        copies: dict[int, list[Any]] = {}
        for document in documents:
            seen: dict[int, Any] = {}
            for place in sorted(self._documents[document]):
                instance = self.requests.instances[place]
                if id(instance) not in seen:
                    seen[id(instance)] = copy.copy(instance)
                    seen[id(instance)].resps, seen[id(instance)].filtered_resps = [], {}
                seen[id(instance)].resps.append(given[place])
            copies[document] = sorted(seen.values(), key=lambda one: one.idx)
        before = task._instances
        task._instances = [one for group in copies.values() for one in group]
        try:
            with self._of_the_task(f"filter the responses to document {documents[0]} and others"):
                task.apply_filters()
        finally:
            task._instances = before
        measured: dict[int, dict[str, Any]] = {}
        for document, group in copies.items():
            measured[document] = {}
            for name in group[0].filtered_resps:
                with self._of_the_task(f"score a response to document {document}"):
                    found = task.process_results(group[0].doc, [one.filtered_resps[name] for one in group])
                measured[document] |= {f"{metric},{name}": value for metric, value in found.items()}
        return measured

    @contextmanager
    def _of_the_task(self, what: str) -> Iterator[None]:
        """Say what failed in a task's own code, which may fail in any way."""
        try:
            yield
        except Exception as error:
            raise SteeringError(
                f"the task {self.requests.name} fails to {what} ({shortened(first_line(error))}): correct the task, or "
                "leave it out; all responses so far are in the record"
            ) from None


def _aggregate(task: Any, metrics: Mapping[int, Mapping[str, Any]], metric: str | None = None) -> Score | None:
    """The metric, or without one the first that is a number; None where there is none."""
    values: dict[str, list[Any]] = {}
    for document in sorted(metrics):
        for name, value in metrics[document].items():
            if metric in (None, name):
                values.setdefault(name, []).append(value)
    aggregations = task.aggregation()
    for name, items in values.items():
        value = aggregations.get(name.split(",")[0], mean)(items)
        if isinstance(value, int | float):
            return Score(name, float(value), len(metrics))
    return None


def find_metric(requests: Requests, given: str | None = None) -> str | None:
    """The metric that strengths are chosen by. Before there is a response, a right answer is scored.

    Args:
        requests: of the first document of the task.
        given: its name, with a filter or without; None for the task's first.

    Returns:
        `name,filter`; None for the first.

    Raises:
        SteeringError: for a metric that the harness does not know or the task does not have, and where none is one
            number.
    """
    task = requests.task
    own = type(task).process_results is not ConfigurableTask.process_results or task.config.process_results is not None
    if not own and requests.writes:
        unknown = [name for name, function in task._metric_fn_list.items() if function is None]
        if unknown:
            raise SteeringError(
                f"the metric {unknown[0]} of {requests.name} is unknown to the harness: correct the task"
            )
    first = requests.instances[0]
    try:
        right: dict[str, Any] = {CHOICES: (0.0, False), ROLLING: 0.0}
        if requests.writes:
            right[TEXT] = str(task.doc_to_target(first.doc))
        places = {
            place: right[one.request_type] for place, one in enumerate(requests.instances) if one.doc_id == first.doc_id
        }
        tried = Scorer(requests)._measure([int(first.doc_id or 0)], places)
    except Exception:  # about a response that is none; what fails on those of a model is told then
        return resolve(task, given, None)
    measured = [metric for found in tried.values() for metric in found]
    metric = resolve(task, given, measured)
    try:
        is_number = _aggregate(task, tried, metric) is not None
    except Exception:  # some aggregate no single document
        return metric
    if not is_number and (metric is None or metric in measured):
        raise no_number(requests.name, metric)
    return metric


def no_number(task: str, metric: str | None = None) -> SteeringError:
    """What to say of a task without a score."""
    which = f"the metric {metric} of {task} is not one number" if metric else f"{task} has no metric that is one number"
    return SteeringError(f"{which}: name another {'metric' if metric else 'task'}, a sweep compares numbers")


def choose(scores: Mapping[float, float | None], higher: bool) -> float:
    """The strength of the best score; of equal ones, and of such as are no finite number, the first: the smallest."""
    best, most = next(iter(scores)), -math.inf
    for alpha, value in scores.items():
        gain = -math.inf if value is None or not math.isfinite(value) else value if higher else -value
        if gain > most:
            best, most = alpha, gain
    return best
