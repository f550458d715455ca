"""Requests of the harness × variants of a plan: record, resume, vote. Every engine is driven from here.

A request enters once, is answered by each variant of the plan, and leaves as one response: its only one, or the one
that represents the vote.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any, Generic, TypeVar

from lm_eval.api.instance import Instance
from tqdm import tqdm

from lm_eval_steer.axis.jobs import Asked, Engine, Scores, Written
from lm_eval_steer.axis.options import Options
from lm_eval_steer.axis.record import Line, Record, digest
from lm_eval_steer.axis.tally import Tally
from lm_eval_steer.axis.vote_key import VoteKey
from lm_eval_steer.axis.voting import Vote, count, needed, weigh
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.plan import SteeringPlan, Variant

logger = logging.getLogger(f"lm_eval.{__name__}")  # lm_eval shows what the children of its own logger say

T = TypeVar("T")
UNNAMED = "unnamed"
"""Stands for the task of requests that were made by hand."""


class _Item(Generic[T]):
    """A request or a document on its way.

    Attributes:
        request: the (first) request.
        choices: all requests of a document whose choices are scored.
        task, doc_id, repeat: what it is.
        sha: SHA-256 of its prompt, or of all contexts and continuations.
        arguments: of the generation, JSON-ready.
        prints: fingerprint per variant.
        fuller: those of lines that stand beside lines without log-probabilities, in a weighted vote; else empty.
        lines: what is there, by variant.
        answers: read from the lines, by variant.
        voted: how many variants, from the first on, the vote counts so far.
    """

    def __init__(self, request: Instance, prompt: list[str], arguments: Any, choices: Sequence[Instance] = ()) -> None:
        self.request, self.choices = request, list(choices)
        self.task = request.task_name or UNNAMED
        self.doc_id = -1 if request.doc_id is None else int(request.doc_id)
        self.repeat = 0
        self.sha = digest(prompt)
        self.arguments = arguments
        self.prints: list[str] = []
        self.fuller: list[str] = []
        self.lines: dict[int, Line] = {}
        self.answers: dict[int, str | None] = {}
        self.voted = 0


class AlphaAxis:
    """One plan's way from requests to responses.

    Args:
        plan: what is asked of each request.
        record: where responses go; None for nowhere.
        model: what determines a response beside plan and request, JSON-ready.
        watch: called with every line that the record holds for these requests or that comes into being, and whether it
            is new.

    Attributes:
        tally: sums over the votes so far.
        counts: how many responses were run, and how many the record had.
        shas: SHA-256 of the settings of each variant, which determine its responses to given requests.
    """

    def __init__(
        self,
        plan: SteeringPlan,
        record: Record | None,
        model: Mapping[str, Any],
        watch: Callable[[Line, bool], None] | None = None,
    ) -> None:
        self.plan = plan
        self.tally = Tally()
        self.counts = {"run": 0, "from_record": 0}
        self._record, self._watch = record, watch
        self._settings = [_settings(plan, variant, model) for variant in plan.variants]
        self.shas = [digest(settings) for settings in self._settings]
        fuller = [settings | {"weighed": True} for settings in self._settings if self._weighs]
        self._fuller_shas = [digest(settings) for settings in fuller]
        if record is not None:
            for settings in self._settings + fuller:
                record.declare(settings)

    @property
    def _weighs(self) -> bool:
        return self.plan.vote == "weighted" and len(self.plan.variants) > 1

    def write(
        self,
        requests: Sequence[Instance],
        engine: Engine,
        settle: Callable[[Instance, str], None],
        disable_tqdm: bool = False,
    ) -> list[str]:
        """Answer generate_until requests.

        Args:
            requests: of the harness.
            engine: writes what the record does not hold.
            settle: called with each request as soon as its response stands.
            disable_tqdm: show no progress.

        Returns:
            one response per request.
        """
        items: list[_Item[str]] = [_Item(request, [request.args[0]], request.args[1]) for request in requests]
        keys = self.keys(requests)
        before = max((key.unfinished for key in keys.values()), default=0)  # the count is the process's

        def read(item: _Item[str], line: Line) -> str | None:
            if item.task not in keys:
                return None
            return keys[item.task].answer(line.response or "", item.request.doc, item.request.args[0])

        def ask(asked: Sequence[Asked], finish: Callable[[int, Written], None]) -> None:
            engine.write(requests, asked, finish)

        def weight(item: _Item[str], line: Line) -> float:
            if line.logprob is None or not line.tokens:
                raise SteeringError(
                    f"vote=weighted needs the log-probabilities of the responses, which those of {item.task} lack "
                    "here: use vote=mode"
                )
            return weigh(line.logprob / line.tokens)

        def line(item: _Item[str], one: Asked, came: Written, seconds: float) -> Line:
            seconds = seconds if came.seconds is None else came.seconds
            return self._line(item, one, seconds, response=came.text, tokens=came.tokens, logprob=came.logprob,
                              stop=came.stop)  # fmt: skip

        def close(item: _Item[str], chosen: Line) -> str:
            settle(item.request, chosen.response or "")
            return chosen.response or ""

        equal = {task: key.equal for task, key in keys.items()}
        texts = self._run(items, "generate_until", ask, line, read, weight, equal, close, disable_tqdm)
        self.tally.unfinished += max((key.unfinished for key in keys.values()), default=0) - before
        return texts

    def score(
        self,
        documents: Sequence[Sequence[Instance]],
        engine: Engine,
        settle: Callable[[Instance, tuple[float, bool]], None],
        disable_tqdm: bool = False,
    ) -> list[Scores]:
        """Score the continuations of documents; a vote is over the option that each variant chooses.

        Args:
            documents: the loglikelihood requests of each.
            engine: scores what the record does not hold.
            settle: called with each request as soon as its score stands.
            disable_tqdm: show no progress.

        Returns:
            scores of each document's requests, those of the variant that represents the vote.
        """
        items: list[_Item[Scores]] = [
            _Item[Scores](requests[0], [part for request in requests for part in request.args], None, requests)
            for requests in documents
        ]
        options = {id(item): Options.of(item.choices) for item in items}
        for found in options.values():
            found.check(self.plan.vote_metric)
        if len(self.plan.variants) > 1:
            for item in items:
                if options[id(item)].count < 2:
                    raise SteeringError(
                        f"{item.task} scores a single continuation per document, on which a set of "
                        f"{len(self.plan.variants)} strengths cannot vote: give one alpha"
                    )
                self.tally.keys[item.task] = f"option chosen by {self.plan.vote_metric}"

        def read(item: _Item[Scores], line: Line) -> str | None:
            return str(options[id(item)].choose(line.scores or (), self.plan.vote_metric))

        def weight(item: _Item[Scores], line: Line) -> float:
            chosen = int(line.answer or 0)
            return weigh((line.scores or ())[chosen][0] / engine.length(item.choices[chosen]))

        def ask(asked: Sequence[Asked], finish: Callable[[int, Scores], None]) -> None:
            engine.score(documents, asked, finish)

        def line(item: _Item[Scores], one: Asked, came: Scores, seconds: float) -> Line:
            return self._line(item, one, seconds, scores=tuple((float(score), bool(best)) for score, best in came))

        def close(item: _Item[Scores], chosen: Line) -> Scores:
            scores = list(chosen.scores or ())
            for request, score in zip(item.choices, scores, strict=True):
                settle(request, score)
            return scores

        return self._run(items, "loglikelihood", ask, line, read, weight, {}, close, disable_tqdm)

    # The way that both take

    def _run(
        self,
        items: Sequence[_Item[T]],
        kind: str,
        ask: Callable[[Sequence[Asked], Callable[[int, Any], None]], None],
        make_line: Callable[[_Item[T], Asked, Any, float], Line],
        read: Callable[[_Item[T], Line], str | None],
        weight: Callable[[_Item[T], Line], float],
        equal: Mapping[str, Any],
        close: Callable[[_Item[T], Line], T],
        disable_tqdm: bool,
    ) -> list[T]:
        variants = len(self.plan.variants)
        self._name(items)
        first: dict[str, int] = {}
        stands_for = [first.setdefault(item.prints[0], number) for number, item in enumerate(items)]
        numbers = sorted(first.values())
        results: dict[int, T] = {}

        def settle(number: int, vote: Vote | None) -> None:
            item = items[number]
            results[number] = close(item, item.lines[vote.winner if vote else 0])
            if vote:
                self.tally.add(vote, item.voted, variants)

        def take(number: int, variant: int, line: Line, new: bool) -> Line:
            item = items[number]
            line = replace(line, answer=read(item, line))
            item.lines[variant], item.answers[variant] = line, line.answer
            if self._watch:
                self._watch(line, new)
            return line

        for number in numbers:
            item = items[number]
            for variant in range(variants):
                line = self._recorded(item, variant, read)
                if line:
                    take(number, variant, line, new=False)
                    self.counts["from_record"] += 1

        known = sum(len(items[number].lines) for number in numbers)
        whole = len(numbers) * variants
        if self._record and known:
            logger.info("%d of %d responses are in the record %s already", known, whole, self._record.folder)
        with (
            nullcontext() if self._record is None else self._record,  # whatever happens, no file stays held
            tqdm(total=whole, disable=disable_tqdm or known == whole, desc=f"Running {kind} requests") as progress,
        ):
            progress.update(known)
            while len(results) < len(numbers):
                asked = []
                for number in numbers:
                    if number in results:
                        continue
                    item = items[number]
                    missing, vote = self._next(item, weight, equal.get(item.task))
                    asked += [Asked(number, variant, int(item.prints[variant][:12], 16)) for variant in missing]
                    if not missing:
                        progress.update(variants - len(item.lines))
                        settle(number, vote)
                if not asked:
                    break
                if self._record:
                    for task in dict.fromkeys(item.task for item in items):
                        self._record.claim(task)  # another run that holds the file is told now
                came_back = set[int]()
                clock = _Clock()

                def finish(
                    place: int,
                    came: Any,
                    asked: Sequence[Asked] = asked,
                    came_back: set[int] = came_back,
                    clock: _Clock = clock,
                ) -> None:
                    one = asked[place]
                    if place in came_back:
                        raise SteeringError(
                            f"the engine brought two responses to one of {len(asked)} {kind} requests: the results of "
                            "this run are void; start it again"
                        )
                    line = take(one.item, one.variant, make_line(items[one.item], one, came, clock.lap()), new=True)
                    if self._record:
                        self._record.append(self._beside(items[one.item], one.variant, line))
                    came_back.add(place)
                    self.counts["run"] += 1
                    progress.update()
                    if variants == 1:
                        settle(one.item, None)

                ask(asked, finish)
                if len(came_back) < len(asked):
                    raise SteeringError(
                        f"of {len(asked)} {kind} requests that the engine was given it brought {len(came_back)} back: "
                        "the results of this run are void; start it again"
                    )
        return [results[number] for number in stands_for]

    def _recorded(self, item: _Item[T], variant: int, read: Callable[[_Item[T], Line], str | None]) -> Line | None:
        """The line of a variant, as far as the vote can use it; None where it has to be asked for.

        The harness's own path, which alpha=0 alone takes, tells no log-probabilities. Where a vote weighs by them such
        a line is as good as none: what is asked for then stands beside it (`_beside`), and a weighted vote reads that.
        So its responses are those that it would have without the line.
        """
        line = self._record.get(item.prints[variant]) if self._record else None
        if not (line and self._weighs and self._record) or line.scores is not None:
            return line
        if (line.logprob is not None and line.tokens) or read(item, line) is None:
            return line
        fuller = self._record.get(item.fuller[variant])
        return fuller and replace(fuller, fingerprint=line.fingerprint, settings=line.settings)

    def _beside(self, item: _Item[Any], variant: int, line: Line) -> Line:
        """A new line as it is recorded: under a fingerprint of its own where the variant has a line already."""
        if self._record is None or line.fingerprint not in self._record:
            return line
        return replace(line, fingerprint=item.fuller[variant], settings=self._fuller_shas[variant])

    def _next(
        self, item: _Item[T], weight: Callable[[_Item[T], Line], float], equal: Any
    ) -> tuple[list[int], Vote | None]:
        """The variants that an item needs next; once that is none, the vote over those that it needed, in their order.

        Lines that are there beyond those change nothing: a vote is the same with a record as without.
        """
        variants = len(self.plan.variants)
        if variants == 1:
            return ([] if item.lines else [0]), None
        while True:
            answers = [item.answers[variant] for variant in range(item.voted)]
            weights = None
            if self._weighs:  # that of no answer is not looked at
                weights = [
                    1.0 if answer is None else weight(item, item.lines[variant])
                    for variant, answer in enumerate(answers)
                ]
            left = variants - item.voted
            least = needed(answers, variants, weights, equal) if self.plan.vote_early_stop else left
            if not least:
                return [], count(answers, weights, equal)
            missing = [v for v in range(item.voted, item.voted + least) if v not in item.lines]
            if missing:
                return missing, None
            item.voted += least

    def _name(self, items: Sequence[_Item[Any]]) -> None:
        """Give each item its fingerprints, the repeats of one request apart."""
        seen: Counter[tuple[str, int, str]] = Counter()
        for place, item in enumerate(items):
            if item.request.doc_id is None and self._record is not None:
                item.doc_id = place
            key = (item.task, item.doc_id, item.sha)
            # With several ranks the harness gives a last request more often than it has repeats, to fill up.
            item.repeat = seen[key] % item.request.repeats if item.request.repeats else seen[key]
            seen[key] += 1
            what = {"task": item.task, "doc_id": item.doc_id, "repeat": item.repeat, "prompt": item.sha,
                    "arguments": item.arguments}  # fmt: skip
            item.prints = [digest(what | {"settings": sha}) for sha in self.shas]
            item.fuller = [digest(what | {"settings": sha}) for sha in self._fuller_shas]

    def _line(self, item: _Item[Any], one: Asked, seconds: float, **came: Any) -> Line:
        variant = self.plan.variants[one.variant]
        label = self.plan.control.name if self.plan.control else ""
        if variant.sample is not None:
            label += f" {variant.sample}"
        empty = {"response": None, "scores": None, "tokens": None, "logprob": None, "stop": None}
        return Line(
            fingerprint=item.prints[one.variant],
            settings=self.shas[one.variant],
            kind="generation" if came.get("scores") is None else "choices",
            task=item.task,
            doc_id=item.doc_id,
            repeat=item.repeat,
            prompt=item.sha,
            alpha=float(variant.alpha),
            variant=label,
            answer=None,
            time=time.time(),
            seconds=seconds,
            **(empty | came),
        )

    def keys(self, requests: Sequence[Instance]) -> dict[str, VoteKey]:
        """How the answers of each task are read.

        Raises:
            SteeringError: where that is needed, for a vote, or was asked for, and cannot be.
        """
        keys = {}
        asked = len(self.plan.variants) > 1 or self.plan.vote_filter is not None or self.plan.vote_answer is not None
        for task in dict.fromkeys(request.task_name for request in requests):
            try:
                key = VoteKey.of(task, self.plan.vote_filter, self.plan.vote_answer)
            except SteeringError:
                if asked:
                    raise
                continue
            keys[task or UNNAMED] = key
            self.tally.keys[task or UNNAMED] = key.name
        return keys


def _settings(plan: SteeringPlan, variant: Variant, model: Mapping[str, Any]) -> dict[str, Any]:
    """All that determines the response of a variant but the request. Where nothing is steered, no vector matters."""
    steering: dict[str, Any] = {"alpha": 0.0}
    if variant.alpha:
        steering = plan.response_settings() | {"alpha": variant.alpha}
        if variant.profile is not None:
            steering["alpha_per_layer"] = list(variant.profile)
    elif plan.control is not None and plan.regroups:
        steering["control"] = plan.control.name
    sample = None
    if variant.sample is not None:
        sample = {"number": variant.sample, "temperature": plan.temperature}
    return {"model": dict(model), "steering": steering, "sample": sample, "seed": plan.seed}


class _Clock:
    """Tells the seconds between one response and the next, so that those of all add up to the time that they took."""

    def __init__(self) -> None:
        self._last = time.perf_counter()

    def lap(self) -> float:
        """Since the lap before, or since the clock was made."""
        last, self._last = self._last, time.perf_counter()
        return self._last - last
