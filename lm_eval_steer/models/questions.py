"""Questions of the axis, made of requests of the harness: a text to write, a document's choices or a text to score."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from typing import Any

from lm_eval.api.instance import Instance

from lm_eval_steer.axis.questions import Question
from lm_eval_steer.axis.record import Line
from lm_eval_steer.axis.voting import weigh
from lm_eval_steer.engines.protocol import Done, Job
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.intervention import Intervention
from lm_eval_steer.interventions.plan import SteeringPlan
from lm_eval_steer.models.generation import draws_tokens, limits_answer
from lm_eval_steer.models.options import Options
from lm_eval_steer.models.requests import Prepared, Requests
from lm_eval_steer.models.vote_key import VoteKey
from lm_eval_steer.models.windows import Window


class Text(Question):
    """A generate_until request.

    Args:
        request: of the harness.
        lm: knows tokens and texts.
        key: how its answers are read; None where nobody reads them.
        prepared: how its text is written under the intervention of a number; None where the harness does it all.
    """

    kind = "generation"

    def __init__(
        self, request: Instance, lm: Requests, key: VoteKey | None, prepared: Callable[[int], Prepared] | None
    ) -> None:
        prompt, arguments = request.args
        super().__init__(
            request.task_name, request.doc_id, request.repeats or 0, [prompt], arguments, draws_tokens(arguments)
        )
        self.request, self._lm, self._key, self._prepared = request, lm, key, prepared
        self._prompts: dict[int, list[int]] = {}
        if key is not None:
            self.reads, self.equal = key.name, key.equal

    @property
    def undecided(self) -> int:
        return self._key.unfinished if self._key else 0

    def job(self, key: Any, number: int, seed: int) -> Job:
        if self._prepared is None:
            return Job(key, number)
        prepared = self._prepared(number)
        new_tokens = prepared.generation.new_tokens
        if new_tokens not in self._prompts:
            self._prompts[new_tokens] = self._lm._encode(self.request.args[0], new_tokens)
        drawn = seed if prepared.draws else None
        return Job(key, number, self._prompts[new_tokens], prepared.generation, seed=drawn)

    def fields(self, done: Done) -> dict[str, Any]:
        stop = self._prepared(done.job.intervention).stop if self._prepared else []
        return {
            "response": self._lm.read(done, stop),
            "scores": None,
            "tokens": None if done.tokens is None else len(done.tokens),
            "logprob": done.logprob,
            "stop": done.stop,
        }

    def answer(self, line: Line) -> str | None:
        if self._key is None:
            return None
        return self._key.answer(line.response or "", self.request.doc, self.request.args[0])

    def weight(self, line: Line) -> float:
        if line.logprob is None or not line.tokens:
            raise SteeringError(
                f"vote=weighted needs the log-probabilities of the responses, which those of {self.task} lack here: "
                "use vote=mode"
            )
        return weigh(line.logprob / line.tokens)


class Choices(Question):
    """A document whose choices are scored.

    Args:
        requests: its loglikelihood requests.
        lm: knows tokens.
        metric: by which an option is chosen.
        plainly: whether the harness does it all.

    Raises:
        SteeringError: for a metric that needs what the document lacks.
    """

    kind = "choices"

    def __init__(self, requests: Sequence[Instance], lm: Requests, metric: str, plainly: bool) -> None:
        first = requests[0]
        parts = [part for request in requests for part in request.args]
        super().__init__(first.task_name, first.doc_id, first.repeats or 0, parts)
        self.requests, self._lm, self._metric, self._plainly = list(requests), lm, metric, plainly
        self._options = Options.of(self.requests)
        self._options.check(metric)
        self.reads = f"option chosen by {metric}"

    def refuse_vote(self, responses: int) -> None:
        if self._options.count < 2:
            raise SteeringError(
                f"{self.task} scores a single continuation per document, on which a set of {responses} strengths "
                "cannot vote: give one alpha"
            )

    @cached_property
    def _pairs(self) -> tuple[tuple[list[int], list[int]], ...]:
        return tuple(self._lm._encode_choice(*request.args[:2]) for request in self.requests)

    def job(self, key: Any, number: int, seed: int) -> Job:
        return Job(key, number, pairs=() if self._plainly else self._pairs)

    def fields(self, done: Done) -> dict[str, Any]:
        scores = tuple((float(score), bool(best)) for score, best in done.scores or ())
        return {"response": None, "scores": scores, "tokens": None, "logprob": None, "stop": None}

    def answer(self, line: Line) -> str | None:
        return str(self._options.choose(line.scores or (), self._metric))

    def weight(self, line: Line) -> float:
        chosen = int(line.answer or 0)
        return weigh((line.scores or ())[chosen][0] / len(self._pairs[chosen][1]))


class Rolling(Question):
    """A loglikelihood_rolling request: a text, of which every token is scored, in as many windows as it needs.

    Args:
        request: of the harness.
        lm: knows tokens.
        plainly: whether the harness does it all.
    """

    kind = "rolling"

    def __init__(self, request: Instance, lm: Requests, plainly: bool) -> None:
        super().__init__(request.task_name, request.doc_id, request.repeats or 0, [request.args[0]])
        self.request, self._lm, self._plainly = request, lm, plainly

    def refuse_vote(self, responses: int) -> None:
        raise SteeringError(
            f"loglikelihood_rolling has no answers, on which a set of {responses} strengths could vote: give one alpha"
        )

    @cached_property
    def _windows(self) -> tuple[Window, ...]:
        return self._lm._cut(self.request.args[0])

    def job(self, key: Any, number: int, seed: int) -> Job:
        return Job(key, number, pairs=() if self._plainly else self._windows)

    def fields(self, done: Done) -> dict[str, Any]:
        total = done.logprob
        if done.scores is not None:
            if len(done.scores) != len(self._windows):
                raise SteeringError(
                    f"of {len(self._windows)} windows of a text that the engine was given it scored "
                    f"{len(done.scores)}: the results of this run are void; start it again"
                )
            total = sum(float(score) for score, _ in done.scores)
        return {"response": None, "scores": None, "tokens": None, "logprob": total, "stop": None}

    def answer(self, line: Line) -> str | None:
        return None

    def weight(self, line: Line) -> float:
        raise SteeringError("loglikelihood_rolling has no answers, which a vote could weigh: give one alpha")


def make_texts(
    requests: Sequence[Instance],
    lm: Requests,
    keys: Mapping[str | None, VoteKey],
    interventions: Sequence[Intervention],
) -> list[Text]:
    """Questions of generate_until requests.

    Args:
        requests: of the harness.
        lm: knows tokens and texts.
        keys: how the answers of each task are read (`vote_keys`).
        interventions: under which they are asked; none where the harness does it all.
    """
    known: dict[tuple[str, Any, bool], Prepared] = {}

    def prepared_for(request: Instance) -> Callable[[int], Prepared]:
        prompt, told = request.args
        shown, answers = repr(told), limits_answer(told) and lm.ends_thought(prompt)

        def prepared(number: int) -> Prepared:
            one = interventions[number]
            kind = (shown, one.temperature, answers)
            if kind not in known:
                known[kind] = lm.prepare(told, one, answers)
            return known[kind]

        return prepared

    return [
        Text(request, lm, keys.get(request.task_name), prepared_for(request) if interventions else None)
        for request in requests
    ]


def vote_keys(requests: Sequence[Instance], plan: SteeringPlan, votes: bool) -> dict[str | None, VoteKey]:
    """How the answers of each task are read, as far as anybody knows.

    Args:
        requests: of the harness.
        plan: may name a filter or a function.
        votes: whether there is a vote.

    Raises:
        SteeringError: where that is needed, for a vote, or was asked for, and cannot be.
    """
    keys = {}
    asked = votes or plan.vote_filter is not None or plan.vote_answer is not None
    for task in dict.fromkeys(request.task_name for request in requests):
        with suppress(*(() if asked else (SteeringError,))):
            keys[task] = VoteKey.of(task, plan.vote_filter, plan.vote_answer)
    return keys
