"""What every steered model class does around its engine: arms, requests to the axis, one date for all prompts."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import date
from typing import Any

import torch

from lm_eval_steer.axis.axis import Axis
from lm_eval_steer.axis.ballots import refuse_unlike
from lm_eval_steer.axis.record import Line, Record
from lm_eval_steer.axis.replay import RecordEngine
from lm_eval_steer.engines.application import refuse_difference
from lm_eval_steer.engines.protocol import Engine
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.intervention import Intervention
from lm_eval_steer.interventions.plan import SteeringPlan
from lm_eval_steer.models.arms import Arm
from lm_eval_steer.models.dates import asks_for_date, date_among, today
from lm_eval_steer.models.generation import limits_answer
from lm_eval_steer.models.leaks import extraction_rows, refuse_leaks
from lm_eval_steer.models.options import choice_of, group_documents
from lm_eval_steer.models.plain import Collector, PlainEngine, Tell
from lm_eval_steer.models.questions import Choices, Rolling, make_texts, vote_keys
from lm_eval_steer.models.results import Results
from lm_eval_steer.models.windows import refuse_rule
from lm_eval_steer.vectors.identity import Identity

logger = logging.getLogger(f"lm_eval.{__name__}")  # lm_eval shows what the children of its own logger say


class Steered(Results):
    """To stand before a model class of the harness among the bases of a steered one.

    A subclass owns an engine, and brings how its class of the harness prepares requests (models/requests.py).

    Attributes:
        engine: runs the model.
        model_identity: which model it is, by which a vector knows the child that it was transferred to.
        plan: the steering; of several arms, that of the first.
        watch: called with every line that the record holds for the requests or that comes into being, and whether it is
            new; `Ballot.holds` says to which arms it belongs.
    """

    engine: Engine
    model_identity: Identity
    enable_thinking: bool | None
    cache_hook: Any  # the harness sets it and says no type
    watch: Callable[[Line, bool], None] | None = None
    _record: Record | None = None

    def steer(self, plan: SteeringPlan, *more: SteeringPlan) -> None:
        """Go on under another plan, or under several arms in one pass, with the model that is loaded.

        The harness is given the responses of the first; those of others go into the record and to `watch`, and
        `arm_info` says what came of each.

        Raises:
            SteeringError: where a plan does not fit the model or the others, or the record cannot be read or written;
                what was loaded before stays as it was then.
        """
        arms = self._fit(plan, *more)
        adopt = self._prepare(arms)
        interventions = tuple(dict.fromkeys(one for arm in arms for one in arm.interventions))
        self._load(interventions, plan.blocks)
        adopt()

    def replay(self, plan: SteeringPlan) -> None:
        """Answer from the record alone from now on, as the model would under a plan: nothing is loaded or run.

        Raises:
            SteeringError: where the plan does not fit the model, or its record cannot be read.
        """
        self._prepare(self._fit(plan), RecordEngine(plan.record))()

    def _fit(self, *plans: SteeringPlan) -> list[Arm]:
        """What plans do to the model.

        Raises:
            SteeringError: where one does not fit it, or the others.
        """
        refuse_unlike(plans)
        blocks, width = self._shape(plans[0].blocks)
        arms = []
        for one in plans:
            child = one.fit(blocks, width, self.model_identity)
            interventions = one.interventions(blocks, child)
            one.refuse_overflow(interventions, self._dtype())
            arms.append(Arm(one, child, interventions))
        return arms

    def _prepare(self, arms: list[Arm], replays: RecordEngine | None = None) -> Callable[[], None]:
        """Make all that arms need beside the engine, and change nothing yet.

        Args:
            arms: of the pass.
            replays: takes the place of the engine.

        Returns:
            what adopts them, and cannot fail.

        Raises:
            SteeringError: where the record cannot be read or written.
        """
        plan = arms[0].plan
        before, record = self._record, self._record
        if before is None or plan.record != self.plan.record:
            record = Record(plan.record, self.rank) if plan.record else None
        model = {key: value for key, value in self._model_settings.items() if key != "date"}
        if day := self._date_for(record):
            model["date"] = day
        axis = Axis([(arm.plan, arm.interventions) for arm in arms], record, model, self._seen)
        merges = self._merges(plan.system_role)

        def adopt() -> None:
            self.plan, self._arms, self._axis, self._merges_system = plan, arms, axis, merges
            self._record, self._model_settings, self._interrupted = record, model, False
            self._replays, self._sums = replays, None
            if before is not None and before is not record:
                before.close()  # which holds nothing while no requests are under way

        return adopt

    @property
    def _is_plain(self) -> bool:
        """Whether no intervention does anything, so that the harness's own path is taken."""
        return self.runs_plainly and all(one.is_plain for one in self._interventions)

    @property
    def _runner(self) -> Engine:
        """What answers the requests of this pass."""
        if self._replays is not None:
            return self._replays
        return self._plain_engine() if self._is_plain else self.engine

    def _date_for(self, record: Record | None) -> str | None:
        """The date that chat templates print from now on: the record's or the run's; None where they print none."""
        templates = (getattr(self.tokenizer, "chat_template", None), getattr(self, "hf_chat_template", None))
        if not asks_for_date(templates, self._render):
            return None
        so_far = self._model_settings.get("date")
        day = self._of_first_rank((date_among(record.contents) if record else None) or so_far or today())
        if day != so_far:
            of = f"that of the record {record.folder}" if record and day != today() else "in all prompts"
            logger.info("The chat template prints a date: %s, %s", day, of)
        return str(day)

    def _of_first_rank(self, day: str) -> str:
        """The date of rank 0, where several start on either side of midnight."""
        if self.world_size == 1:
            return day
        ordinal = torch.tensor([date.fromisoformat(day).toordinal()], device=self.device)
        return date.fromordinal(int(self.all_gather(ordinal)[0])).isoformat()

    def _seen(self, line: Line, new: bool) -> None:
        if self.watch:
            self.watch(line, new)

    # What a subclass brings

    def _shape(self, blocks: str | None) -> tuple[int, int]:
        """How many blocks the model has, which may stand at a path, and its hidden size."""
        raise NotImplementedError

    def _load(self, interventions: tuple[Intervention, ...], blocks: str | None) -> None:
        """Have the engine take the interventions of all arms, each once, or none of them.

        Args:
            interventions: in the order of their numbers.
            blocks: where the blocks are, if they cannot be found by shape.

        Raises:
            SteeringError: where one does not fit the model.
        """
        raise NotImplementedError

    _plainly_unprepared = False
    """Whether that reads requests itself, and needs no tokens of them."""

    def _identity(self) -> AbstractContextManager[None]:
        """Another composition of the batches, if the plan is the control `identity`."""
        return nullcontext()

    # Where nothing is done to the model

    def _plain_engine(self) -> Engine:
        """What answers requests then: the harness's own class, byte for byte."""
        return PlainEngine(self._answer_plainly)

    def _answer_plainly(self, method: str, requests: list[Any], tell: Tell) -> None:
        """Have a method of the harness's class answer requests, and tell of each as it tells its cache."""
        hook = self.cache_hook
        self.cache_hook = Collector(tell)
        try:
            with self._identity():
                getattr(super(), method)(requests, disable_tqdm=True)
        finally:
            self.cache_hook = hook

    # Requests

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        self._check(requests)
        keys = vote_keys(requests, self.plan, self._axis.votes)  # what was named must be there, voted on or not
        if self.runs_plainly and any(limits_answer(request.args[1]) for request in requests):
            with self._by_engine():
                return self.generate_until(requests, disable_tqdm=disable_tqdm)
        if self._goes_by_itself:
            with self._identity():
                return super().generate_until(requests, disable_tqdm=disable_tqdm)
        asked = () if self._is_plain and self._plainly_unprepared else self._interventions
        hook = self.cache_hook
        with self._counting():
            lines = self._axis.run(
                make_texts(requests, self, keys, asked),
                self._runner,
                lambda text, line: hook.add_partial("generate_until", text.request.args, line.response),
                "generate_until",
                disable_tqdm or self.rank != 0,
            )
        return [line.response or "" for line in lines]

    @contextmanager
    def _by_engine(self) -> Iterator[None]:
        """Have the engine answer where nothing is done to the model, too: the harness knows no limit of an answer."""
        self.runs_plainly = False
        try:
            with self._identity():
                yield
        finally:
            self.runs_plainly = True

    def loglikelihood(self, requests: list[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        self._check(requests)
        if self.enable_thinking:
            raise SteeringError("enable_thinking=True has no meaning for multiple choice: leave it out here")
        if self._draws_samples:
            raise SteeringError("control=self-consistency draws texts, and multiple choice has none: leave it out here")
        if self._goes_by_itself:
            with self._identity():
                return super().loglikelihood(requests, disable_tqdm=disable_tqdm)

        def settle(question: Choices, line: Line) -> None:
            for request, score in zip(question.requests, line.scores or (), strict=True):
                hook.add_partial("loglikelihood", request.args, score)

        hook = self.cache_hook
        groups = list(group_documents(requests))
        plainly = self._is_plain and self._plainly_unprepared
        documents = [
            Choices([requests[number] for number in group], self, self.plan.vote_metric, plainly) for group in groups
        ]
        with self._counting():
            lines = self._axis.run(documents, self._runner, settle, "loglikelihood", disable_tqdm or self.rank != 0)
        scores: dict[int, tuple[float, bool]] = {}
        for group, line in zip(groups, lines, strict=True):
            scores |= zip(group, line.scores or (), strict=True)
        same = {choice_of(requests[number]): score for number, score in scores.items()}
        return [
            scores[number] if number in scores else same[choice_of(request)] for number, request in enumerate(requests)
        ]

    def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = False) -> list[float]:
        if self._draws_samples:
            raise SteeringError(
                "control=self-consistency draws texts, and loglikelihood_rolling has none: leave it out here"
            )
        if self._steers:
            refuse_rule(self.plan.tokens)
        self._check(requests)
        if self._goes_by_itself:
            with self._identity():
                return super().loglikelihood_rolling(requests, disable_tqdm=disable_tqdm)
        plainly = self._is_plain and self._replays is None
        hook = self.cache_hook
        with self._counting():
            lines = self._axis.run(
                [Rolling(request, self, plainly) for request in requests],
                self._plain_engine() if plainly else self._runner,
                lambda text, line: hook.add_partial("loglikelihood_rolling", text.request.args, line.logprob),
                "loglikelihood_rolling",
                disable_tqdm or self.rank != 0,
            )
        return [float(line.logprob or 0) for line in lines]

    @contextmanager
    def _counting(self) -> Iterator[None]:
        """Compare, at the end, what was steered with what requests imply, and add up what all ranks measured.

        Raises:
            SteeringError: where they differ.
        """
        before = self._axis.new
        try:
            yield
        except BaseException:
            self._interrupted = True
            raise
        if self._axis.new > before:  # not all came from the record
            refuse_difference(self._proof())
        self._add_up_ranks()
        self._warn_of_lost_doses()

    def _check(self, requests: list[Any]) -> None:
        """Refuse documents that a vector has seen, and batches that cannot be formed."""
        if len(self._interventions) > 1 and any(one.regrouped for one in self._interventions):
            raise SteeringError("control=identity forms batches of its own: give it a pass of its own")
        for plan in (arm.plan for arm in self._arms):
            if plan.steers and not plan.allow_leak:
                refuse_leaks(extraction_rows(*plan.sources), requests)

    @property
    def _goes_by_itself(self) -> bool:
        """Whether requests go to the harness's own class, since nothing is steered, recorded or heard."""
        return self._is_plain and self._record is None and len(self._arms) == 1 and self._replays is None

    @property
    def _draws_samples(self) -> bool:
        return any(one.sample is not None for one in self._interventions)

    def _follow_template(self) -> None:
        interrupted = self._interrupted
        self._prepare(self._arms, self._replays)()  # with what this template asks for
        self._interrupted = interrupted
