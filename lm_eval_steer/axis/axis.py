"""Requests of the harness × interventions: record, resume, vote. Every engine is driven from here.

A request enters once, is answered under each intervention that an arm asks for, and leaves as one response per arm: its
only one, or the one that represents the vote. The harness gets that of the first arm.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import replace
from typing import Any, Generic, TypeVar

from lm_eval.api.instance import Instance
from tqdm import tqdm

from lm_eval_steer.axis.ballots import Ballot, refuse_unlike
from lm_eval_steer.axis.jobs import Asked, Engine, Scores, Written
from lm_eval_steer.axis.options import Options
from lm_eval_steer.axis.record import Line, Record, digest
from lm_eval_steer.axis.settings import LineSettings
from lm_eval_steer.axis.vote_key import VoteKey
from lm_eval_steer.axis.voting import Vote, weigh
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.intervention import Intervention
from lm_eval_steer.interventions.plan import SteeringPlan

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
        draws: whether they ask for tokens to be drawn.
        prints: fingerprint per intervention.
        fuller: those of lines that stand beside lines without log-probabilities, in a weighted vote.
        lines: what is there, by the number of the intervention, with the answers that were read.
        voted: how many interventions, from the first on, the vote of each ballot counts so far.
        open: numbers of the ballots that have no response yet.
    """

    def __init__(self, request: Instance, prompt: list[str], arguments: Any, choices: Sequence[Instance] = ()) -> None:
        self.request, self.choices = request, list(choices)
        self.task = request.task_name or UNNAMED
        self.doc_id = -1 if request.doc_id is None else int(request.doc_id)
        self.repeat = 0
        self.sha = digest(prompt)
        self.arguments = arguments
        self.draws = arguments is not None and draws(arguments)
        self.prints: list[str] = []
        self.fuller: list[str] = []
        self.lines: dict[int, Line] = {}
        self.voted: list[int] = []
        self.open: list[int] = []


class Axis:
    """The way of one pass from requests to responses.

    Args:
        plans: what each arm asks of each request, with its interventions in the order of the vote.
        record: where responses go; None for nowhere.
        model: what determines a response beside intervention and request, JSON-ready.
        watch: called with every line that the record holds for these requests or that comes into being, and whether it
            is new; `Ballot.holds` says to which arms it belongs.

    Attributes:
        ballots: the arms. The harness gets the responses of the first.
        interventions: of all arms, each once; an engine knows them by these numbers.
        run: how many responses were run.

    Raises:
        SteeringError: for arms that cannot share a pass.
    """

    def __init__(
        self,
        plans: Sequence[tuple[SteeringPlan, Sequence[Intervention]]],
        record: Record | None,
        model: Mapping[str, Any],
        watch: Callable[[Line, bool], None] | None = None,
    ) -> None:
        refuse_unlike([plan for plan, _ in plans])
        self.interventions = tuple(dict.fromkeys(one for _, every in plans for one in every))
        self.run = 0
        self._record, self._watch = record, watch
        self._settings = [LineSettings(model, one, plans[0][0].seed) for one in self.interventions]
        places = {one: number for number, one in enumerate(self.interventions)}
        self.ballots = []
        self._described: dict[int, tuple[float, str]] = {}
        for plan, every in plans:
            numbers = [places[one] for one in every]
            self.ballots.append(Ballot(plan, numbers, [self._settings[number] for number in numbers]))
            for number, variant in zip(numbers, plan.variants, strict=True):
                label = plan.control.name if plan.control else ""
                label += "" if variant.sample is None else f" {variant.sample}"
                self._described.setdefault(number, (float(variant.alpha), label))
        self._weighed = {number for ballot in self.ballots if ballot.weighs for number in ballot.numbers}
        if record is not None:
            for settings in self._settings:
                for content in settings.contents.values():
                    record.declare(content)

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
        unfinished = max((key.unfinished for key in keys.values()), default=0) - before
        for ballot in self.ballots:
            ballot.tally.unfinished += unfinished * ballot.votes
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
        metric = self.ballots[0].plan.vote_metric
        items: list[_Item[Scores]] = [
            _Item[Scores](requests[0], [part for request in requests for part in request.args], None, requests)
            for requests in documents
        ]
        options = {id(item): Options.of(item.choices) for item in items}
        for found in options.values():
            found.check(metric)
        for ballot in (ballot for ballot in self.ballots if ballot.votes):
            for item in items:
                if options[id(item)].count < 2:
                    raise SteeringError(
                        f"{item.task} scores a single continuation per document, on which a set of "
                        f"{len(ballot.numbers)} strengths cannot vote: give one alpha"
                    )
                ballot.tally.keys[item.task] = f"option chosen by {metric}"

        def read(item: _Item[Scores], line: Line) -> str | None:
            return str(options[id(item)].choose(line.scores or (), metric))

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
        every = len(self.interventions)
        self._name(items)
        first: dict[str, int] = {}
        stands_for = [first.setdefault(item.prints[0], number) for number, item in enumerate(items)]
        numbers = sorted(first.values())
        results: dict[int, T] = {}

        def settle(number: int, place: int, vote: Vote | None) -> None:
            item, ballot = items[number], self.ballots[place]
            item.open.remove(place)
            if place == 0:
                results[number] = close(item, item.lines[ballot.numbers[vote.winner if vote else 0]])
            if vote:
                ballot.tally.add(vote, item.voted[place], len(ballot.numbers))
            if not item.open:
                progress.update(every - len(item.lines))

        def take(number: int, place: int, line: Line, new: bool) -> Line:
            item = items[number]
            line = item.lines[place] = replace(line, answer=read(item, line))
            self.run += new
            for ballot in self.ballots:
                ballot.counts["run" if new else "from_record"] += place in ballot.numbers
            if self._watch:
                self._watch(line, new)
            return line

        for number in numbers:
            for place in range(every):
                line = self._recorded(items[number], place, read)
                if line:
                    take(number, place, line, new=False)

        known = sum(len(items[number].lines) for number in numbers)
        whole = len(numbers) * every
        if self._record and known:
            logger.info("%d of %d responses are in the record %s already", known, whole, self._record.folder)
        with (
            nullcontext() if self._record is None else self._record,  # whatever happens, no file stays held
            tqdm(total=whole, disable=disable_tqdm or known == whole, desc=f"Running {kind} requests") as progress,
        ):
            progress.update(known)
            while True:
                asked = []
                for number in numbers:
                    item = items[number]
                    lacking = set[int]()
                    for place in list(item.open):
                        missing, vote = self._next(item, place, weight, equal.get(item.task))
                        lacking.update(missing)
                        if not missing:
                            settle(number, place, vote)
                    asked += [Asked(number, one, int(item.prints[one][:12], 16)) for one in sorted(lacking)]
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
                    progress.update()
                    for number in list(items[one.item].open):
                        if self.ballots[number].numbers == (one.variant,):
                            settle(one.item, number, None)

                ask(asked, finish)
                if len(came_back) < len(asked):
                    raise SteeringError(
                        f"of {len(asked)} {kind} requests that the engine was given it brought {len(came_back)} back: "
                        "the results of this run are void; start it again"
                    )
        return [results[number] for number in stands_for]

    def _recorded(self, item: _Item[T], number: int, read: Callable[[_Item[T], Line], str | None]) -> Line | None:
        """The line of an intervention, as far as the vote can use it; None where it has to be asked for.

        The harness's own path, which alpha=0 alone takes, tells no log-probabilities. Where a vote weighs by them such
        a line is as good as none: what is asked for then stands beside it (`_beside`), and a weighted vote reads that.
        So its responses are those that it would have without the line.
        """
        line = self._record.get(item.prints[number]) if self._record else None
        if not (line and number in self._weighed and self._record) or line.scores is not None:
            return line
        if (line.logprob is not None and line.tokens) or read(item, line) is None:
            return line
        fuller = self._record.get(item.fuller[number])
        return fuller and replace(fuller, fingerprint=line.fingerprint, settings=line.settings)

    def _beside(self, item: _Item[Any], number: int, line: Line) -> Line:
        """A new line as it is recorded: under a fingerprint of its own where the intervention has a line already."""
        if self._record is None or line.fingerprint not in self._record:
            return line
        settings = self._settings[number].of(item.draws, beside=True)
        return replace(line, fingerprint=item.fuller[number], settings=settings)

    def _next(
        self, item: _Item[T], place: int, weight: Callable[[_Item[T], Line], float], equal: Any
    ) -> tuple[list[int], Vote | None]:
        """The interventions that a ballot needs next of an item, and once that is none, its vote (`Ballot.next`)."""
        found = self.ballots[place].next(item.voted[place], item.lines, lambda line: weight(item, line), equal)
        item.voted[place], missing, vote = found
        return missing, vote

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
            item.prints, item.fuller = (
                [digest(what | {"settings": one.of(item.draws, beside)}) for one in self._settings]
                for beside in (False, True)
            )
            for ballot in self.ballots:
                ballot.drew |= item.draws
            item.voted, item.open = [0] * len(self.ballots), list(range(len(self.ballots)))

    def _line(self, item: _Item[Any], one: Asked, seconds: float, **came: Any) -> Line:
        alpha, label = self._described[one.variant]
        empty = {"response": None, "scores": None, "tokens": None, "logprob": None, "stop": None}
        return Line(
            fingerprint=item.prints[one.variant],
            settings=self._settings[one.variant].of(item.draws),
            kind="generation" if came.get("scores") is None else "choices",
            task=item.task,
            doc_id=item.doc_id,
            repeat=item.repeat,
            prompt=item.sha,
            alpha=alpha,
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
        plan = self.ballots[0].plan
        votes = any(ballot.votes for ballot in self.ballots)
        asked = votes or plan.vote_filter is not None or plan.vote_answer is not None
        for task in dict.fromkeys(request.task_name for request in requests):
            try:
                key = VoteKey.of(task, plan.vote_filter, plan.vote_answer)
            except SteeringError:
                if asked:
                    raise
                continue
            keys[task or UNNAMED] = key
            for ballot in self.ballots:
                ballot.tally.keys[task or UNNAMED] = key.name
        return keys


def draws(arguments: Mapping[str, Any]) -> bool:
    """Whether generation arguments ask for tokens to be drawn."""
    temperature = arguments.get("temperature")
    with suppress(TypeError, ValueError):  # what is no number is refused before it is asked for
        temperature = float(temperature or 0)
    return bool(arguments.get("do_sample")) or bool(temperature)


class _Clock:
    """Tells the seconds between one response and the next, so that those of all add up to the time that they took."""

    def __init__(self) -> None:
        self._last = time.perf_counter()

    def lap(self) -> float:
        """Since the lap before, or since the clock was made."""
        last, self._last = self._last, time.perf_counter()
        return self._last - last
