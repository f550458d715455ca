"""A model class of the harness by name, and what goes wrong while it loads its model, in one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lm_eval.api.registry import get_model

from lm_eval_steer.errors import SteeringError, is_out_of_memory

_LONGEST_REASON = 300
"""Characters of what a library said."""


def model_class(name: str, advice: str) -> Any:
    """The model class that the harness knows as `name`.

    Raises:
        SteeringError: where there is none, with `advice` as its end.
    """
    try:
        return get_model(name)
    except SteeringError:  # says what the class needs
        raise
    except (KeyError, ValueError):
        raise SteeringError(f"--model {name} is no model class of the harness: {advice}") from None


@contextmanager
def loading(model: Any) -> Iterator[None]:
    """Tell whatever the harness and transformers raise while a model is loaded, since its arguments are the user's.

    Raises:
        SteeringError: names the model and the reason; the error itself is its cause. Memory that does not suffice is
            left to the caller.
    """
    try:
        yield
    except SteeringError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        reason = " ".join(str(error).split())[:_LONGEST_REASON]
        kind = "" if isinstance(error, OSError) and reason else f" ({type(error).__name__})"
        raise SteeringError(f"the model {model!r} cannot be loaded: {reason}{kind}") from error
