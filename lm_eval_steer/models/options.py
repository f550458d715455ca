"""Documents of multiple choice, and which option is chosen: the harness's own formulas (lm_eval/api/task.py)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from lm_eval.api.instance import Instance
from lm_eval.api.task import ConfigurableTask, MultipleChoiceTask

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.plugin.known_tasks import find


@dataclass(frozen=True)
class Options:
    """The options of one document. Build it with `Options.of`.

    Attributes:
        task: name of their task.
        count: how many there are; the first requests of the document are theirs, in this order.
        texts: each as its task measures its length; None where that is unknown.
        unconditional: as many requests behind them score their texts without the context (acc_mutual_info).
    """

    task: str
    count: int
    texts: tuple[str, ...] | None
    unconditional: bool

    @classmethod
    def of(cls, requests: Sequence[Instance]) -> Options:
        """The options of the document of these loglikelihood requests."""
        name = requests[0].task_name
        task: Any = find(name)
        texts = _texts(task, requests[0].doc)
        doubled = texts is not None and len(requests) == 2 * len(texts) and "acc_mutual_info" in task._metric_fn_list
        if texts is None or not (doubled or len(requests) == len(texts)):
            texts, doubled = _read_from(requests)
        return cls(str(name), len(requests) // (1 + doubled), texts, doubled)

    def check(self, metric: str) -> None:
        """Refuse a metric of `METRICS` (interventions/arguments.py) that needs what the document lacks.

        Raises:
            SteeringError: then.
        """
        if metric == "acc_mutual_info" and not self.unconditional:
            raise SteeringError(
                f"vote_metric=acc_mutual_info needs the options without their context, which {self.task} does not ask "
                "for: use acc, or name acc_mutual_info in the task's metric_list"
            )
        if metric in ("acc_norm", "acc_bytes") and self.texts is None:
            raise SteeringError(
                f"vote_metric={metric} needs the lengths of the options, which stand in the contexts of {self.task} "
                "here, and no task of that name built these requests in this process: use vote_metric=acc"
            )

    def choose(self, scores: Sequence[tuple[float, bool]], metric: str) -> int:
        """The number of the best option, the first of equal ones.

        Args:
            scores: of the document's requests.
            metric: one of `METRICS`.

        Raises:
            SteeringError: as `check`.
        """
        self.check(metric)
        found = np.array([score for score, _ in scores[: self.count]])
        with np.errstate(all="ignore"):  # an empty option has no length, a probability of 0 no logarithm
            if metric == "acc_mutual_info":
                found = found - np.array([score for score, _ in scores[self.count :]])
            elif metric != "acc":
                found = found / self._lengths(metric)
        return int(np.argmax(found))

    def _lengths(self, metric: str) -> np.ndarray:
        texts = self.texts or ()
        return np.array([float(len(text.encode() if metric == "acc_bytes" else text)) for text in texts])


def choice_of(request: Instance) -> tuple[Any, ...]:
    """What tells a request that scores a choice from others, but not from its own repeats.

    The number alone does not: tasks that are Python classes may number all choices of a document alike.
    """
    return request.task_name, request.doc_id, request.idx, request.args[:2]


def group_documents(requests: Sequence[Instance]) -> Iterator[list[int]]:
    """The numbers of the requests of each document, repeats apart; requests made by hand stand alone.

    With several ranks the harness gives a last request more often than it has repeats, to fill up: those are left out.
    """
    groups: dict[Any, list[int]] = {}
    seen: Counter[Any] = Counter()
    for number, request in enumerate(requests):
        key: Any = (request.task_name, request.doc_id)
        if request.doc_id is None:
            key = number
        else:
            choice = choice_of(request)
            key = (*key, seen[choice])
            seen[choice] += 1
            if request.repeats and seen[choice] > request.repeats:
                continue
        groups.setdefault(key, []).append(number)
    yield from groups.values()


def _texts(task: Any, doc: Any) -> tuple[str, ...] | None:
    """The options that the task measures; None where it is not one of the harness's two kinds of multiple choice."""
    if isinstance(task, ConfigurableTask) and task.OUTPUT_TYPE == "multiple_choice":
        return tuple(task.doc_to_choice(doc))
    if isinstance(task, MultipleChoiceTask):
        return tuple(doc["choices"])
    return None


def _read_from(requests: Sequence[Instance]) -> tuple[tuple[str, ...] | None, bool]:
    """Texts and whether they are scored without the context, too, as far as the requests show it."""
    half = len(requests) // 2
    contexts, continuations = zip(*(request.args[:2] for request in requests), strict=True)
    doubled = 2 * half == len(requests) and all(contexts[:half]) and not any(contexts[half:])
    shown = continuations[-half:] if doubled else continuations
    if len(shown) > 1 and len(set(shown)) == 1:  # the options are in the contexts
        return None, doubled
    return tuple(text.lstrip() for text in shown), doubled  # they stand behind a delimiter
