"""Questions × interventions: record, resume, vote. Every engine is driven from here.

A question enters once, is answered under each intervention that an arm asks for, and leaves as one response per arm:
its only one, or the one that represents the vote. The harness gets that of the first arm.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

from tqdm import tqdm

from lm_eval_steer.axis.ballots import Ballot, refuse_unlike
from lm_eval_steer.axis.items import Asked, Item, make_items
from lm_eval_steer.axis.questions import Question
from lm_eval_steer.axis.record import Line, Record
from lm_eval_steer.axis.settings import LineSettings
from lm_eval_steer.axis.voting import Vote
from lm_eval_steer.engines.protocol import Done, Engine, Job
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.intervention import Intervention
from lm_eval_steer.interventions.plan import SteeringPlan

logger = logging.getLogger(f"lm_eval.{__name__}")  # lm_eval shows what the children of its own logger say


class Axis:
    """The way of one pass from questions to responses.

    Args:
        plans: what each arm asks of each question, with its interventions in the order of the vote.
        record: where responses go; None for nowhere.
        model: what determines a response beside intervention and question, JSON-ready.
        watch: called with every line that the record holds for these questions or that comes into being, and whether it
            is new; `Ballot.holds` says to which arms it belongs.

    Attributes:
        ballots: the arms. The harness gets the responses of the first.
        interventions: of all arms, each once; an engine knows them by these numbers.
        new: how many responses were run.

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
        self.new = 0
        self._record, self._watch = record, watch
        self._settings = [LineSettings(model, one, plans[0][0].seed) for one in self.interventions]
        places = {one: number for number, one in enumerate(self.interventions)}
        self.ballots: list[Ballot] = []
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

    @property
    def votes(self) -> bool:
        """Whether an arm votes."""
        return any(ballot.votes for ballot in self.ballots)

    def run(
        self,
        questions: Sequence[Question],
        engine: Engine,
        settle: Callable[[Any, Line], None],
        kind: str,
        disable_tqdm: bool = False,
    ) -> list[Line]:
        """Answer questions.

        Args:
            questions: of the harness.
            engine: does what the record does not hold.
            settle: called with each question as soon as its response in the first arm stands.
            kind: of the requests, as messages name them.
            disable_tqdm: show no progress.

        Returns:
            the response of the first arm to each question.

        Raises:
            SteeringError: where a question has no answer that an arm could vote on, and where the engine does not bring
                back what it was given.
        """
        before = max((question.undecided for question in questions), default=0)  # the count is the process's
        self._announce(questions)
        items = make_items(questions, self._settings, len(self.ballots), self._record is not None)
        first: dict[str, Item] = {}
        stands_for = [first.setdefault(item.prints[0], item) for item in items]
        chosen = self._answer(list(first.values()), engine, settle, kind, disable_tqdm)
        undecided = max((question.undecided for question in questions), default=0) - before
        for ballot in self.ballots:
            ballot.tally.unfinished += undecided * ballot.votes
        return [chosen[item] for item in stands_for]

    def _announce(self, questions: Sequence[Question]) -> None:
        """Tell each ballot what it will meet, and refuse what it cannot vote on."""
        for ballot in self.ballots:
            for question in questions:
                if ballot.votes:
                    question.refuse_vote(len(ballot.numbers))
                if question.reads is not None:
                    ballot.tally.keys[question.task] = question.reads
                ballot.drew |= question.draws

    def _answer(
        self,
        items: Sequence[Item],
        engine: Engine,
        settle: Callable[[Any, Line], None],
        kind: str,
        disable_tqdm: bool,
    ) -> dict[Item, Line]:
        every = len(self.interventions)
        chosen: dict[Item, Line] = {}

        def close(item: Item, place: int, vote: Vote | None) -> None:
            ballot = self.ballots[place]
            item.open.remove(place)
            if place == 0:
                chosen[item] = item.lines[ballot.numbers[vote.winner if vote else 0]]
                settle(item.question, chosen[item])
            if vote:
                ballot.tally.add(vote, item.voted[place], len(ballot.numbers))
            if not item.open:
                progress.update(every - len(item.lines))

        for item in items:
            for number in range(every):
                if line := self._recorded(item, number):
                    self._take(item, number, line, new=False)
        known, whole = sum(len(item.lines) for item in items), len(items) * every
        if self._record and known:
            logger.info("%d of %d responses are in the record %s already", known, whole, self._record.folder)
        with (
            nullcontext() if self._record is None else self._record,  # whatever happens, no file stays held
            tqdm(total=whole, disable=disable_tqdm or known == whole, desc=f"Running {kind} requests") as progress,
        ):
            progress.update(known)
            while True:
                asked: list[Asked] = []
                for item in items:
                    missing = set[int]()
                    for place in list(item.open):
                        more, vote = self._next(item, place)
                        missing.update(more)
                        if not more:
                            close(item, place, vote)
                    asked += [Asked(item, number) for number in sorted(missing)]
                if not asked:
                    return chosen
                if self._record:
                    for task in dict.fromkeys(item.question.task for item in items):
                        self._record.claim(task)  # another run that holds the file is told now
                for one in self._ask(engine, asked, kind):
                    progress.update()
                    for place in list(one.item.open):
                        if self.ballots[place].numbers == (one.number,):
                            close(one.item, place, None)

    def _ask(self, engine: Engine, asked: Sequence[Asked], kind: str) -> Generator[Asked, None, None]:
        """Have an engine do what is asked; each is recorded as soon as it is done."""
        jobs = [one.item.question.job(one, one.number, int(one.item.prints[one.number][:12], 16)) for one in asked]
        waiting = set(asked)
        last = time.perf_counter()
        for done in _run(engine, jobs):
            one: Asked = done.job.key
            if one not in waiting:
                raise SteeringError(
                    f"the engine brought two responses to one of {len(asked)} {kind} requests: the results of this run "
                    "are void; start it again"
                )
            waiting.remove(one)
            now = time.perf_counter()  # so the seconds of all add up to the time that they took
            line = self._line(one, now - last if done.seconds is None else done.seconds, done)
            last = now
            line = self._take(one.item, one.number, line, new=True)
            if self._record:
                self._record.append(self._beside(one, line))
            yield one
        if waiting:
            raise SteeringError(
                f"of {len(asked)} {kind} requests that the engine was given it brought {len(asked) - len(waiting)} "
                "back: the results of this run are void; start it again"
            )

    def _take(self, item: Item, number: int, line: Line, new: bool) -> Line:
        line = item.lines[number] = replace(line, answer=item.question.answer(line))
        self.new += new
        for ballot in self.ballots:
            ballot.counts["run" if new else "from_record"] += number in ballot.numbers
        if self._watch:
            self._watch(line, new)
        return line

    def _next(self, item: Item, place: int) -> tuple[list[int], Vote | None]:
        """The interventions that a ballot needs next of an item, and once that is none, its vote (`Ballot.next`)."""
        question = item.question
        found = self.ballots[place].next(item.voted[place], item.lines, question.weight, question.equal)
        item.voted[place], missing, vote = found
        return missing, vote

    # Lines

    def _recorded(self, item: Item, number: int) -> Line | None:
        """The line of an intervention, as far as the vote can use it; None where it has to be asked for.

        The harness's own path, which alpha=0 alone takes, tells no log-probabilities. Where a vote weighs by them such
        a line is as good as none: what is asked for then stands beside it (`_beside`), and a weighted vote reads that.
        So its responses are those that it would have without the line.
        """
        line = self._record.get(item.prints[number]) if self._record else None
        if not (line and number in self._weighed and self._record) or line.scores is not None:
            return line
        if (line.logprob is not None and line.tokens) or item.question.answer(line) is None:
            return line
        fuller = self._record.get(item.fuller[number])
        return fuller and replace(fuller, fingerprint=line.fingerprint, settings=line.settings)

    def _beside(self, one: Asked, line: Line) -> Line:
        """A new line as it is recorded: under a fingerprint of its own where the intervention has a line already."""
        if self._record is None or line.fingerprint not in self._record:
            return line
        settings = self._settings[one.number].of(one.item.question.draws, beside=True)
        return replace(line, fingerprint=one.item.fuller[one.number], settings=settings)

    def _line(self, one: Asked, seconds: float, done: Done) -> Line:
        question = one.item.question
        alpha, variant = self._described[one.number]
        return Line(
            fingerprint=one.item.prints[one.number],
            settings=self._settings[one.number].of(question.draws),
            kind=question.kind,
            task=question.task,
            doc_id=one.item.doc_id,
            repeat=one.item.repeat,
            prompt=question.sha,
            alpha=alpha,
            variant=variant,
            answer=None,
            time=time.time(),
            seconds=seconds,
            **question.fields(done),
        )


def _run(engine: Engine, jobs: Sequence[Job]) -> Generator[Done, None, None]:
    """What an engine does; whatever happens, it is told that nobody asks on."""
    work = iter(engine.run(jobs))
    try:
        yield from work
    finally:
        if isinstance(work, Generator):
            work.close()
