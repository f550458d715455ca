"""Functions that a user or a task file names as `package.module:function`, to read answers or to compare them."""

from __future__ import annotations

import copy
import importlib
import inspect
from collections.abc import Callable, Sequence
from typing import Any

from lm_eval_steer.answers import NO_ANSWER
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.text import quoted

Reader = Callable[[Sequence[str], Sequence[Any]], list[str | None]]
"""Responses and their documents to answers."""


def refuse_two_readers(vote_filter: str | None, vote_answer: str | None) -> None:
    """Refuse two ways to read an answer.

    Raises:
        SteeringError: then.
    """
    if vote_filter is not None and vote_answer is not None:
        raise SteeringError(
            f"vote_filter={quoted(vote_filter)} and vote_answer={quoted(vote_answer)} both say how a vote reads "
            "answers: give one of them"
        )


def reader_of_function(vote_answer: str) -> Reader:
    """What reads answers with the function of the argument `vote_answer`.

    Raises:
        SteeringError: for what is no function that takes (response) or (response, doc); the reader raises one where the
            function returns neither text nor None.
    """
    argument = f"vote_answer={quoted(vote_answer)}"
    function = load_function(argument, vote_answer)
    takes_doc = _takes_doc(argument, function)

    def read(responses: Sequence[str], docs: Sequence[Any]) -> list[str | None]:
        return [_answer(response, doc) for response, doc in zip(responses, docs, strict=True)]

    def _answer(response: str, doc: Any) -> str | None:
        answer = function(response, copy.copy(doc)) if takes_doc else function(response)
        if answer is not None and not isinstance(answer, str):
            raise SteeringError(
                f"{argument} returned {answer!r:.80}, a {type(answer).__name__}: let it return a string, or None for "
                "no answer"
            )
        return answer if answer and answer.strip() and answer != NO_ANSWER else None

    return read


def load_function(argument: str, path: Any) -> Callable[..., Any]:
    """The function at `package.module:function`; `argument` is how the user gave it.

    Raises:
        SteeringError: where the text is no such path, and where nothing that can be called is there.
    """
    module_name, colon, name = str(path).partition(":")
    if not (isinstance(path, str) and module_name and colon and name.isidentifier()):
        raise SteeringError(f"{argument} is not understood: write package.module:function")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # the module is the user's: it may fail in any way
        raise SteeringError(
            f"{argument}: the module {module_name} cannot be imported ({type(error).__name__}: {error}); a module in "
            "this folder is found with PYTHONPATH=."
        ) from None
    if not hasattr(module, name):
        raise SteeringError(f"{argument}: the module {module_name} has no {name}; write package.module:function")
    function = getattr(module, name)
    if not callable(function):
        kind = type(function).__name__
        raise SteeringError(f"{argument}: {name} is of type {kind}, not a function; write package.module:function")
    return function


def _takes_doc(argument: str, function: Callable[..., Any]) -> bool:
    """Whether a function takes (response, doc) and not (response) alone; it must take one of the two.

    A second parameter that may be left out gets the document only if it is called `doc`.
    """
    try:
        signature = inspect.signature(function)
    except ValueError:  # some built-in functions have none
        return False
    positional = [
        parameter
        for parameter in signature.parameters.values()
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ]
    wants_doc = len(positional) > 1 and (
        positional[1].default is inspect.Parameter.empty or positional[1].name == "doc"
    )
    try:
        signature.bind(*("response", "doc")[: 2 if wants_doc else 1])
    except TypeError:
        raise SteeringError(
            f"{argument} takes {signature}, but it is called with (response) or (response, doc): let it take these"
        ) from None
    return wants_doc
