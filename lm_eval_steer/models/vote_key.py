"""What a vote counts: the answer of a response, read as the response's task reads it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from lm_eval.api.filter import FilterEnsemble
from lm_eval.api.instance import Instance
from lm_eval.api.task import ConfigurableTask, Task
from lm_eval.filters.extraction import WhitespaceFilter
from lm_eval.filters.selection import MajorityVoteFilter, TakeFirstFilter, TakeKFilter
from lm_eval.filters.transformation import LowercaseFilter, MapFilter, UppercaseFilter

from lm_eval_steer.answers import NO_ANSWER, math_equal, math_unfinished
from lm_eval_steer.answers.named import Reader, load_function, reader_of_function, refuse_two_readers
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.plugin.known_tasks import find
from lm_eval_steer.tasks.thinking import SteerTask, whole
from lm_eval_steer.text import quoted

# Filters that leave a response as it is or tidy it, and take no answer out of it.
_TIDY = (TakeFirstFilter, TakeKFilter, MajorityVoteFilter, WhitespaceFilter, LowercaseFilter, UppercaseFilter)

_HELP = "name a function that does, as in vote_answer=package.module:function"


@dataclass(frozen=True)
class VoteKey:
    """How responses of one task are read and compared. Build it with `VoteKey.of`.

    Attributes:
        name: what reads the answers, for the result file.
        equal: whether an answer (second) equals that of a class (first); None where equal answers are equal strings.
            It need not be symmetric or transitive.
        read: see `answers`.
        whole: a response as it is read where the prompt is known: with the thought that the prompt opened.
    """

    name: str
    equal: Callable[[str, str], bool] | None
    read: Reader
    whole: Callable[[Any, str], str] | None = None

    @classmethod
    def of(cls, task_name: str | None, vote_filter: str | None = None, vote_answer: str | None = None) -> VoteKey:
        """The key for requests that carry `task_name`.

        Args:
            task_name: as in `Instance.task_name`; its task must have built its requests in this process, except where
                `vote_answer` is given.
            vote_filter: the filter pipeline of the task whose output is the answer; by default its first.
            vote_answer: `package.module:function` that reads the answer instead; it takes (response) or
                (response, doc) and returns a string, or None for no answer. Equal answers are equal strings then.

        Raises:
            SteeringError: one sentence per way to be wrong, and where the task extracts answers only while it scores.
        """
        refuse_two_readers(vote_filter, vote_answer)
        if vote_answer is not None:
            return cls(vote_answer, None, reader_of_function(vote_answer), partial(whole, find(task_name)))
        task = find(task_name)
        if task is None:
            raise SteeringError(
                f"a vote must know how {task_name or 'this task'} reads answers, but no task of that name built these "
                f"requests in this process: {_HELP}"
            )
        pipeline = _pipeline(task, task_name, vote_filter)
        metadata = task.config.metadata
        equality = metadata.get("answer_equality") if isinstance(metadata, dict) else None
        equal = None if equality is None else load_function(f"answer_equality={equality!r} of {task_name}", equality)
        reader = _reader_of_filter(task, task_name, pipeline)
        # A task of the harness reads a response alone, and a vote counts what the task scores.
        shown = partial(whole, task) if isinstance(task, SteerTask) else None
        return cls(f"filter {pipeline.name!r} of {task_name}", equal, reader, shown)

    def answer(self, response: str, doc: Any, prompt: Any = None) -> str | None:
        """The answer in a response to `doc`; None for no answer."""
        return self.answers([response], [doc], [prompt])[0]

    def answers(
        self, responses: Sequence[str], docs: Sequence[Any], prompts: Sequence[Any] | None = None
    ) -> list[str | None]:
        """As `answer`, for many at once: some filters of the harness prepare for long at every call."""
        if prompts is not None and self.whole is not None:
            responses = [self.whole(*both) for both in zip(prompts, responses, strict=True)]
        return self.read(responses, docs) if responses else []

    @property
    def unfinished(self) -> int:
        """How many comparisons of this process had no verdict in time and so were unequal, by `math_equal`."""
        return math_unfinished() if self.equal is math_equal else 0


# Filters of a task


def _pipeline(task: Task, task_name: str | None, vote_filter: str | None) -> FilterEnsemble:
    pipelines = {str(pipeline.name): pipeline for pipeline in task._filters}
    if vote_filter is None:
        return next(iter(pipelines.values()))
    if str(vote_filter) not in pipelines:
        names = ", ".join(pipelines)
        raise SteeringError(f"vote_filter={quoted(vote_filter)} is no filter of {task_name}: use one of {names}")
    return pipelines[str(vote_filter)]


def _reader_of_filter(task: Task, task_name: str | None, pipeline: FilterEnsemble) -> Reader:
    steps = [step() for step in pipeline.filters]
    tidies = all(type(step) in _TIDY for step in steps)
    if type(task).apply_filters not in (Task.apply_filters, ConfigurableTask.apply_filters, SteerTask.apply_filters):
        where = "in a way of its own (apply_filters)"
    elif tidies and _scores_in_its_own_way(task):
        where = f"only while it scores (process_results), since its filter {pipeline.name!r} extracts nothing"
    else:
        return partial(_read_filtered, pipeline, steps, tidies)
    raise SteeringError(f"{task_name} extracts answers {where}, so a vote cannot read them: {_HELP}")


def _scores_in_its_own_way(task: Task) -> bool:
    """Whether anything but the harness's own scoring reads what the filters leave.

    `--predict_only` writes a word in the place of the configured function, and hides whether there was one: it counts.
    """
    own_class = type(task).process_results is not ConfigurableTask.process_results
    return own_class or task.config.process_results is not None


def _read_filtered(
    pipeline: FilterEnsemble, steps: list[Any], tidies: bool, responses: Sequence[str], docs: Sequence[Any]
) -> list[str | None]:
    # take_first_k refuses documents of fewer responses. The same one k times has the same majority and the same first.
    copies = max((step.k for step in steps if isinstance(step, TakeKFilter)), default=1)
    requests = [
        Instance("generate_until", copy.copy(doc), ("", {}), 0, resps=[response] * copies)
        for response, doc in zip(responses, docs, strict=True)
    ]
    pipeline.apply(requests)
    answers = [_string(request.filtered_resps[pipeline.name], copies, _failures(steps)) for request in requests]
    return [answer.strip() if tidies and answer else answer for answer in answers]


def _failures(steps: list[Any]) -> list[Any]:
    """What the filters write where they find nothing."""
    failures = [step.fallback for step in steps if hasattr(step, "fallback")]
    for step in steps:
        if isinstance(step, MapFilter) and step.default_value not in step.mapping_dict.values():
            failures.append(step.default_value)
    return [NO_ANSWER, *failures]


def _string(result: Any, copies: int, failures: list[Any]) -> str | None:
    """A filter's result as an answer; without take_first it is a list of one, or of one per copy."""
    if isinstance(result, list | tuple) and len(result) in (1, copies):
        if result in failures:
            return None
        result = result[0]
    if result is None or result in failures or result in ([], ()):
        return None
    text = result if isinstance(result, str) else str(result)
    return text if text.strip() else None
