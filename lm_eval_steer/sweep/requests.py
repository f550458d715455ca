"""What a model is asked for a task of a sweep, of whatever output type, and whether a vote can count the responses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from lm_eval.api.instance import Instance

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.plan import SteeringPlan
from lm_eval_steer.models.options import Options, choice_of, group_documents
from lm_eval_steer.models.vote_key import VoteKey

TEXT, CHOICES, ROLLING = METHODS = ("generate_until", "loglikelihood", "loglikelihood_rolling")
"""Types of requests, which are the methods of a model that answer them."""

_WORDS = {CHOICES: "multiple choice", ROLLING: "a rolling log-likelihood"}


@dataclass(frozen=True)
class Requests:
    """What a model is asked for a task.

    Attributes:
        task: of the harness, with its requests built.
        name: its name.
        instances: the requests, each as often as the task repeats it.
        no_vote: why no vote can count the responses; None where one can.
    """

    task: Any
    name: str
    instances: list[Instance]
    no_vote: str | None = None

    @property
    def parts(self) -> tuple[Requests, ...]:
        """Those of each task: of a group its members', else these alone."""
        return (self,)

    @property
    def votes(self) -> bool:
        """Whether a vote can count the responses of several strengths."""
        return self.no_vote is None

    @property
    def writes(self) -> bool:
        """Whether a text is asked for."""
        return TEXT in self.by_method

    @property
    def no_samples(self) -> str | None:
        """Why self-consistency, a vote over drawn texts, has no arm; None where it has."""
        if self.writes:
            return self.no_vote
        return f"control=self-consistency draws texts, and {_WORDS[next(iter(self.by_method))]} has none"

    @cached_property
    def by_method(self) -> dict[str, list[Instance]]:
        """The model's method -> the requests that it answers: one method, but for tasks that ask in several ways."""
        found: dict[str, list[Instance]] = {}
        for instance in self.instances:
            found.setdefault(instance.request_type, []).append(instance)
        return found

    def questions(self) -> Iterator[list[Instance]]:
        """The requests of each response of the record: all choices of a document together, every other by itself."""
        for method, instances in self.by_method.items():
            if method == CHOICES:
                yield from ([instances[place] for place in group] for group in group_documents(instances))
            else:
                yield from ([one] for one in instances)

    @cached_property
    def answers(self) -> int:
        """How many responses one variant gives."""
        return sum(1 for _ in self.questions())


@dataclass(frozen=True)
class GroupRequests(Requests):
    """What a model is asked for all members of a group, in one.

    Attributes:
        task: the harness's Group, with the members' tasks.
        members: the requests of each.
    """

    members: tuple[Requests, ...] = ()

    @property
    def parts(self) -> tuple[Requests, ...]:
        """As those of a task."""
        return self.members


def check_requests(name: str, instances: Sequence[Instance]) -> None:
    """Refuse a task that asks in a way that no model which steers knows, or whose responses cannot be told apart.

    Args:
        name: of the task.
        instances: its requests, each once.

    Raises:
        SteeringError: then.
    """
    unknown = sorted({one.request_type for one in instances} - set(METHODS))
    if unknown:
        raise SteeringError(
            f"the task {name} asks for {', '.join(unknown)}, which no model that steers answers: a sweep takes "
            f"{', '.join(METHODS)}"
        )
    asked = set[Any]()
    for one in instances:
        what = choice_of(one) if one.request_type == CHOICES else (one.doc_id, one.args[0])
        if (one.request_type, what) in asked:
            raise SteeringError(
                f"the task {name} asks document {one.doc_id} for {one.request_type} of one prompt twice, and a sweep "
                "tells responses by their prompts: ask it once, with repeats in the task's configuration"
            )
        asked.add((one.request_type, what))


def why_no_vote(requests: Requests, plan: SteeringPlan | None) -> str | None:
    """Why no vote can count the responses of several strengths; None where one can.

    Args:
        requests: of the task, or of some of its documents.
        plan: may say how answers are read; None for the task's own way.

    Raises:
        SteeringError: where the plan names a filter or a function that cannot be taken.
    """
    methods = list(requests.by_method)
    if ROLLING in methods:
        return f"a vote counts answers, and {_WORDS[ROLLING]} has none"
    if len(methods) > 1:
        return "a vote counts answers, and texts beside log-likelihoods have none in common"
    if methods == [CHOICES]:
        if any(len(group) < 3 and Options.of(group).count < 2 for group in requests.questions()):
            return "a vote counts answers, and a single continuation has none"
        return None
    vote_filter, vote_answer = (plan.vote_filter, plan.vote_answer) if plan else (None, None)
    try:
        VoteKey.of(requests.name, vote_filter, vote_answer)
    except SteeringError as error:
        if vote_filter is not None or vote_answer is not None:
            raise
        return str(error)
    return None
