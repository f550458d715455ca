"""The harness's own path as an engine: what it gives where nothing is done to a model, byte for byte."""

from __future__ import annotations

import contextvars
import queue
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from functools import partial
from typing import Any, TypeVar

import torch

from lm_eval_steer.axis.items import Asked
from lm_eval_steer.axis.questions import Question
from lm_eval_steer.engines.measured import Measured
from lm_eval_steer.engines.protocol import Done, Job
from lm_eval_steer.interventions.intervention import Intervention
from lm_eval_steer.models.questions import Choices, Rolling, Text

T = TypeVar("T")
Tell = Callable[[tuple[Any, ...], Any], None]
"""Is told the arguments of a request and its response, as the harness's cache hook is."""


class PlainEngine:
    """Has the harness's own class answer requests, and hands on each response as that tells its cache of it.

    Args:
        answer: has the harness's method of a name answer requests.
    """

    def __init__(self, answer: Callable[[str, list[Any], Tell], None]) -> None:
        self._answer = answer

    def load(self, interventions: Sequence[Intervention], blocks: str | None = None) -> None:
        """Take those that do nothing."""

    def run(self, jobs: Sequence[Job]) -> Iterator[Done]:
        """Do jobs of the axis (engines/protocol.py), in the harness's own batches."""
        yield from self._single(Text, "generate_until", jobs)
        yield from self._single(Rolling, "loglikelihood_rolling", jobs)
        yield from self._choices([job for job in jobs if isinstance(_question(job), Choices)])

    def measured(self) -> Measured:
        """Nothing: nothing is steered."""
        return Measured()

    def _single(self, kind: type[Question], method: str, jobs: Sequence[Job]) -> Iterator[Done]:
        """Do the jobs of a kind of question that is one request each."""
        those = [job for job in jobs if isinstance(_question(job), kind)]
        waiting: dict[str, list[Job]] = {}
        for job in those:
            waiting.setdefault(repr(_question(job).request.args), []).append(job)
        for args, came in _told(partial(self._answer, method), [_question(job).request for job in those]):
            job = waiting[repr(args)].pop(0)
            yield Done(job, text=came) if kind is Text else Done(job, logprob=float(came))

    def _choices(self, jobs: Sequence[Job]) -> Iterator[Done]:
        waiting: dict[tuple[Any, ...], list[tuple[Job, int]]] = {}
        requests = []
        for job in jobs:
            for place, request in enumerate(_question(job).requests):
                requests.append(request)
                waiting.setdefault(request.args, []).append((job, place))
        found: dict[Job, dict[int, Any]] = {job: {} for job in jobs}
        for args, score in _told(partial(self._answer, "loglikelihood"), requests):
            job, place = waiting[args].pop(0)
            found[job][place] = score
            if len(found[job]) == len(_question(job).requests):
                yield Done(job, scores=[found[job][place] for place in sorted(found[job])])


def _question(job: Job) -> Any:
    assert isinstance(job.key, Asked)
    return job.key.item.question


def _told(run: Callable[[list[Any], Tell], None], requests: list[Any]) -> Iterator[tuple[tuple[Any, ...], Any]]:
    if not requests:
        return

    def work(hand: Callable[[tuple[tuple[Any, ...], Any]], None]) -> None:
        run(requests, lambda args, came: hand((args, came)))

    with closing(hand_over(work)) as told:
        yield from told


class Collector:
    """Takes the place of the harness's cache hook, and tells of every response that it is told of."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell

    def add_partial(self, attr: str, req: tuple[Any, ...], res: Any) -> None:
        self._tell(req, res)


class _Ended(BaseException):
    """Nobody asks on. No library takes it for an error of its own."""


def hand_over(work: Callable[[Callable[[T], None]], None]) -> Generator[T, None, None]:
    """What a function hands over while it runs, one by one, each before the function goes on.

    It runs in a thread of its own, and never at the same time as the caller.

    Args:
        work: calls what it is given with each thing that it has.
    """
    go: queue.SimpleQueue[bool] = queue.SimpleQueue()
    came: queue.SimpleQueue[tuple[T] | BaseException | None] = queue.SimpleQueue()
    device = torch.cuda.current_device() if torch.cuda.is_initialized() else None

    def wait() -> None:
        if not go.get():
            raise _Ended

    def hand(one: T) -> None:
        came.put((one,))
        wait()

    def run() -> None:
        try:
            wait()
            if device is not None:
                torch.cuda.set_device(device)  # a thread begins with the first
            work(hand)
        except _Ended:
            pass
        except BaseException as error:
            came.put(error)
        came.put(None)

    thread = threading.Thread(target=contextvars.copy_context().run, args=(run,), daemon=True)
    thread.start()
    try:
        while True:
            go.put(True)
            one = came.get()
            if isinstance(one, BaseException):
                raise one
            if one is None:
                return
            yield one[0]
    finally:
        go.put(False)
        thread.join()
