"""What every steered model class does around its engine: requests to the axis, prompts, caches, results."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import date
from typing import Any

import torch
from lm_eval.api.instance import Instance

from lm_eval_steer.axis.axis import Axis
from lm_eval_steer.axis.ballots import Ballot, refuse_unlike
from lm_eval_steer.axis.jobs import Asked, Scores, Written
from lm_eval_steer.axis.options import group_documents
from lm_eval_steer.axis.record import Line, Record, digest
from lm_eval_steer.engines.application import refuse_difference, uncompared
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.arguments import ARGUMENT_NAMES
from lm_eval_steer.interventions.child import ChildVector
from lm_eval_steer.interventions.intervention import Intervention
from lm_eval_steer.interventions.plan import SteeringPlan
from lm_eval_steer.interventions.tokens import TOKENS
from lm_eval_steer.models.dates import asks_for_date, date_among, today
from lm_eval_steer.models.leaks import extraction_rows, refuse_leaks
from lm_eval_steer.models.prompts import Prompts

logger = logging.getLogger(f"lm_eval.{__name__}")  # lm_eval shows what the children of its own logger say

CACHE_MARK = "lm_eval_steer.fingerprint"

Doses = dict[str, dict[str, dict[str, Any]]]
"""Strength -> block -> what was measured there (engines/doses.py)."""


def take_plan(arguments: dict[str, Any]) -> SteeringPlan:
    """The plan of a model class's arguments, which are taken out of them.

    Raises:
        SteeringError: as `SteeringPlan.build`.
    """
    return SteeringPlan.build(**{name: arguments.pop(name) for name in ARGUMENT_NAMES if name in arguments})


@dataclass(frozen=True)
class Arm:
    """One arm of a pass.

    Attributes:
        plan: its steering.
        child: the vector in the model's space; None where there is none.
        interventions: what is done to the model, in the order of the vote.
    """

    plan: SteeringPlan
    child: ChildVector | None
    interventions: tuple[Intervention, ...]

    def content(self) -> dict[str, Any]:
        """What of it changes a response that the harness is given, JSON-ready."""
        plan, vote, seed = self.plan, None, None
        if len(self.interventions) > 1:
            vote = [plan.vote, plan.vote_filter, plan.vote_answer, plan.vote_metric]
        if any(one.sample is not None for one in self.interventions):
            seed = plan.seed
        return {"interventions": [one.fingerprint for one in self.interventions], "vote": vote, "seed": seed}


class Steered(Prompts):
    """To stand before a model class of the harness among the bases of a steered one, which is an asked.Engine.

    A subclass loads interventions into its engine (`_load`), brings `write` and `score`, and says what was measured.

    Attributes:
        plan: the steering; of several arms, that of the first.
        watch: called with every line that the record holds for the requests or that comes into being, and whether it is
            new; `Ballot.holds` says to which arms it belongs.
    """

    plan: SteeringPlan
    cache_hook: Any  # the harness sets it and says no type
    watch: Callable[[Line, bool], None] | None = None
    _record: Record | None = None
    _arms: list[Arm]
    _axis: Axis
    _interrupted: bool = False  # some positions were steered of which nobody knows to which response they belong
    _known_doses: Doses

    def steer(self, plan: SteeringPlan, *more: SteeringPlan) -> None:
        """Go on under another plan, or under several arms in one pass, with the model that is loaded.

        The harness is given the responses of the first; those of others go into the record and to `watch`, and
        `arm_info` says what came of each.

        Raises:
            SteeringError: where a plan does not fit the model or the others, or the record cannot be read or written;
                what was loaded before stays as it was then.
        """
        plans = (plan, *more)
        refuse_unlike(plans)
        blocks, width = self._shape(plan.blocks)
        arms = []
        for one in plans:
            child = one.fit(blocks, width)
            found = one.interventions(blocks, child)
            one.refuse_overflow(found, self._dtype())
            arms.append(Arm(one, child, found))
        adopt = self._prepare(arms)
        self._load(arms, tuple(dict.fromkeys(one for arm in arms for one in arm.interventions)))
        adopt()

    def _prepare(self, arms: list[Arm]) -> Callable[[], None]:
        """Make all that arms need beside the engine, and change nothing yet.

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
            self._known_doses = getattr(self, "_known_doses", {})
            if before is not None and before is not record:
                before.close()  # which holds nothing while no requests are under way

        return adopt

    @property
    def ballots(self) -> list[Ballot]:
        """The arms of the pass, in the order in which they were given to `steer`."""
        return self._axis.ballots

    @property
    def _interventions(self) -> tuple[Intervention, ...]:
        """Those of the pass, each once."""
        return self._axis.interventions

    @property
    def _is_plain(self) -> bool:
        """Whether no intervention does anything, so that the harness's own path is taken."""
        return all(one.is_plain for one in self._interventions)

    @property
    def _steers(self) -> bool:
        return any(one.acts for one in self._interventions)

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

    def write(
        self, requests: Sequence[Instance], asked: Sequence[Asked], finish: Callable[[int, Written], None]
    ) -> None:
        """Continue prompts (asked.Engine)."""
        raise NotImplementedError

    def score(
        self,
        documents: Sequence[Sequence[Instance]],
        asked: Sequence[Asked],
        finish: Callable[[int, Scores], None],
    ) -> None:
        """Score continuations (asked.Engine)."""
        raise NotImplementedError

    def _shape(self, blocks: str | None) -> tuple[int, int]:
        """How many blocks the model has, which may stand at a path, and its hidden size."""
        raise NotImplementedError

    def _load(self, arms: list[Arm], interventions: tuple[Intervention, ...]) -> None:
        """Have the engine take the interventions of all arms, each once, or none of them.

        Raises:
            SteeringError: where one does not fit the model.
        """
        raise NotImplementedError

    def _measured(self) -> list[dict[str, dict[str, Any]]]:
        """What was measured, per intervention of the pass; empty where nothing is steered."""
        raise NotImplementedError

    def _application(self) -> dict[str, Any] | None:
        """Proof that the steering was applied; None where nothing is steered."""
        raise NotImplementedError

    def _dtype(self) -> str:
        """Of the model, as in `float32`."""
        raise NotImplementedError

    def _identity(self) -> AbstractContextManager[None]:
        """Another composition of the batches, if the plan is the control `identity`."""
        return nullcontext()

    # Requests

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        self._refuse_leaks(requests)
        if self._goes_by_itself:
            self._axis.keys(requests)  # nobody votes, but what was named must be there
            with self._identity():
                return super().generate_until(requests, disable_tqdm=disable_tqdm)

        def settle(request: Instance, response: str) -> None:
            hook.add_partial("generate_until", request.args, response)

        hook = self.cache_hook
        with self._counting():
            responses = self._axis.write(requests, self, settle, disable_tqdm or self.rank != 0)
        self._warn_of_lost_doses()
        return responses

    def loglikelihood(self, requests: list[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        self._refuse_leaks(requests)
        if self._draws_samples:
            raise SteeringError("control=self-consistency draws texts, and multiple choice has none: leave it out here")
        if self._goes_by_itself:
            with self._identity():
                return super().loglikelihood(requests, disable_tqdm=disable_tqdm)

        def settle(request: Instance, score: tuple[float, bool]) -> None:
            hook.add_partial("loglikelihood", request.args, score)

        hook = self.cache_hook
        groups = list(group_documents(requests))
        documents = [[requests[number] for number in group] for group in groups]
        scores: dict[int, tuple[float, bool]] = {}
        disable = disable_tqdm or self.rank != 0
        with self._counting():
            answers = self._axis.score(documents, self, settle, disable)
        for group, found in zip(groups, answers, strict=True):
            scores |= zip(group, found, strict=True)
        self._warn_of_lost_doses()
        same = {_choice(requests[number]): score for number, score in scores.items()}
        return [
            scores[number] if number in scores else same[_choice(request)] for number, request in enumerate(requests)
        ]

    def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = False) -> list[float]:
        if len(self._interventions) > 1:
            raise SteeringError(
                f"loglikelihood_rolling has no answers, on which a set of {len(self._interventions)} strengths could "
                "vote: give one alpha"
            )
        if self._draws_samples:
            raise SteeringError(
                "control=self-consistency draws texts, and loglikelihood_rolling has none: leave it out here"
            )
        if self._steers and TOKENS[self.plan.tokens].needs_prompt:
            raise SteeringError(
                f"tokens={self.plan.tokens!r} has no meaning for loglikelihood_rolling, which has no prompt: "
                "use tokens=all"
            )
        self._refuse_leaks(requests)
        with self._identity(), self._counting(rolling=True):
            return super().loglikelihood_rolling(requests, disable_tqdm=disable_tqdm)

    @contextmanager
    def _counting(self, rolling: bool = False) -> Iterator[None]:
        """Compare, at the end, the positions that were steered with those that the run's requests imply.

        Args:
            rolling: whether requests are run that the axis knows nothing of.

        Raises:
            SteeringError: where they differ.
        """
        before = self._axis.run
        try:
            yield
        except BaseException:
            self._interrupted = True
            raise
        if rolling or self._axis.run > before:  # not all came from the record
            refuse_difference(self._proof())

    def _proof(self) -> dict[str, Any] | None:
        """Of the steering, as the result file has it (engines/application.py)."""
        found = self._application()
        if found is not None and self._interrupted:
            return uncompared(found["steered"], "a run under this steering did not come to its end")
        return found

    def _refuse_leaks(self, requests: list[Any]) -> None:
        for plan in (arm.plan for arm in self._arms):
            if plan.steers and not plan.allow_leak:
                refuse_leaks(extraction_rows(plan.vector), requests)

    @property
    def _goes_by_itself(self) -> bool:
        """Whether requests go to the harness's own class, since nothing is steered, recorded or heard."""
        return self._is_plain and self._record is None and len(self._arms) == 1

    @property
    def _draws_samples(self) -> bool:
        return any(one.sample is not None for one in self._interventions)

    def length(self, request: Instance) -> int:
        """How many tokens the continuation of a loglikelihood request has (asked.Engine)."""
        context, continuation = request.args[:2]
        return len(self._encode_choice(context, continuation)[1])

    def _encode_choice(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        """Tokens of a context and its continuation, one of each at least.

        Raises:
            SteeringError: for a continuation that the model cannot score.
        """
        pair = self._encode_pair(context, continuation) if context else self._encode_alone(continuation)
        self._refuse_unscorable(pair[1])
        return pair

    def _encode_alone(self, continuation: str) -> tuple[list[int], list[int]]:
        """As the harness's TemplateLM does: no context is the prefix token, and a continuation may begin with it."""
        tokens = self.tok_encode(continuation, add_special_tokens=False)
        begins = bool(tokens) and tokens[0] == self.prefix_token_id
        return ([tokens[0]], tokens[1:]) if begins and len(tokens) > 1 else ([self.prefix_token_id], tokens)

    @property
    def _longest(self) -> int:
        """Tokens of the longest continuation that can be scored: each must be predicted from the token before it."""
        return int(self.max_length)

    def _refuse_unscorable(self, continuation: Sequence[int]) -> None:
        """Refuse what `hf` ends at in an AssertionError, and `vllm` scores in part."""
        if not continuation:
            raise SteeringError(
                "a continuation of 0 tokens has no log-likelihood: leave this task out, or its documents with an empty "
                "option"
            )
        if len(continuation) > self._longest:
            raise SteeringError(
                f"a continuation of {len(continuation)} tokens cannot be scored, since the model takes {self._longest} "
                "of them at most: set a larger max_length, or leave this task out"
            )

    def _follow_template(self) -> None:
        interrupted = self._interrupted
        self._prepare(self._arms)()  # with what this template asks for
        self._interrupted = interrupted

    # Results and caches

    def get_model_info(self) -> dict[str, Any]:
        """What the harness puts into the result file's config."""
        inherited = getattr(super(), "get_model_info", dict)
        return {**inherited(), "steering": self.arm_info()}

    def arm_info(self, number: int = 0) -> dict[str, Any]:
        """What there is to say of an arm of the pass, as the result file has it of the first.

        Args:
            number: of the arm, as `steer` was given it.
        """
        arm, ballot = self._arms[number], self.ballots[number]
        vector = arm.plan.vector
        return arm.plan.settings() | {
            "fingerprint": self._fingerprint(arm),
            "settings": ballot.shas,
            "weights": self._model_settings.get("weights"),
            "date": self._model_settings.get("date"),
            "system_prompt": "merged into the first user turn" if self._merges_system else "as the template has it",
            "transfer": arm.child.report if arm.child else None,
            "passport": vector.passport if vector else None,
            "votes": ballot.tally.report(),
            "responses": ballot.counts,
            "doses": self._doses(arm),
            "application": self._proof(),
        }

    def _doses(self, arm: Arm) -> Doses:
        """What was measured, now or before other interventions took the place of these."""
        for one, measured in zip(self._interventions, self._measured(), strict=False):
            if measured:
                self._known_doses[one.fingerprint] = measured
        if not arm.plan.steers:
            return {}
        known = zip(arm.plan.variants, arm.interventions, strict=True)
        return {
            variant.name: self._known_doses[one.fingerprint]
            for variant, one in known
            if one.fingerprint in self._known_doses
        }

    def _warn_of_lost_doses(self) -> None:
        """Say so where the dtype rounded away more than half of a shift."""
        dtype = self._dtype()
        doses = [(arm.plan.dose, name, blocks) for arm in self._arms for name, blocks in self._doses(arm).items()]
        for is_dose, name, blocks in doses:
            lost = {b: m["survival"] for b, m in blocks.items() if m["survival"] is not None and m["survival"] < 0.5}
            if lost:
                keeps = "a larger strength" if dtype == "float32" else "dtype=float32"
                logger.warning(
                    "%s=%s: in %d of %d steered blocks less than half of the shift survives the rounding of %s (least: "
                    "%.0f %% in block %s); %s would keep it",
                    *("dose" if is_dose else "alpha", name, len(lost), len(blocks), dtype),
                    *(100 * min(lost.values()), min(lost, key=lambda block: lost[block]), keeps),
                )

    @property
    def steering_fingerprint(self) -> str:
        """What may share a response cache with this model: same model, vector, strength and positions.

        The date that its template prints stands in the prompts, by which the cache names responses.
        """
        return self._fingerprint(self._arms[0])

    def _fingerprint(self, arm: Arm) -> str:
        model = {key: value for key, value in self._model_settings.items() if key != "date"}
        return digest({"model": model} | arm.content())

    def set_cache_hook(self, cache_hook: Any) -> None:
        """Mark the harness's response cache, which cannot tell steerings apart, and refuse that of another one.

        Nor can it tell seeds apart, and some task may ask for text that is drawn.
        """
        cache = cache_hook.dbdict
        if cache is not None:
            mark, own = cache.get(CACHE_MARK), digest([self.steering_fingerprint, self.plan.seed])
            if mark is None and len(cache) == 0:
                cache[CACHE_MARK] = own
            elif mark != own:
                held = "a model without steering" if mark is None else "another steering or another model"
                raise SteeringError(
                    f"the response cache {cache.filename} holds the responses of {held}, which the harness would "
                    "return as this run's: give this run a --use_cache path of its own"
                )
        super().set_cache_hook(cache_hook)


def _choice(request: Instance) -> tuple[Any, ...]:
    """What tells a request of the harness from others that score a choice."""
    return request.task_name, request.doc_id, request.idx


def collect(count: int, run: Callable[[Callable[[int, tuple[float, bool]], None]], None]) -> list[tuple[float, bool]]:
    """The scores of `count` rows, each of which `run` hands to what it is given, with its number.

    Raises:
        SteeringError: where it leaves one out.
    """
    found: dict[int, tuple[float, bool]] = {}
    run(found.__setitem__)
    if len(found) < count:
        raise SteeringError(
            f"of {count} rows that the engine was given to score it brought {len(found)} back: the results of this run "
            "are void; start it again"
        )
    return [found[number] for number in range(count)]


def gather(
    choices: Sequence[int], finish: Callable[[int, Scores], None]
) -> Callable[[tuple[int, int], tuple[float, bool]], None]:
    """Takes the scores of (document, choice) in any order, and calls `finish` with each document that is whole.

    Args:
        choices: how many each document has.
        finish: takes the number of a document and its scores.
    """
    found: list[dict[int, tuple[float, bool]]] = [{} for _ in choices]

    def take(owner: tuple[int, int], score: tuple[float, bool]) -> None:
        document, choice = owner
        found[document][choice] = score
        if len(found[document]) == choices[document]:
            finish(document, [found[document][i] for i in range(choices[document])])

    return take
