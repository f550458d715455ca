"""Windows in which the harness cuts a text whose log-likelihood is asked for (loglikelihood_rolling)."""

from __future__ import annotations

from collections.abc import Sequence

from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.tokens import token_rule

Window = tuple[list[int], list[int]]
"""Token ids of a context and of the continuation that is scored behind it."""


def cut(tokens: Sequence[int], prefix: int, longest: int) -> tuple[Window, ...]:
    """The windows of a text, each token in one of them, as the harness's classes cut it.

    Args:
        tokens: ids of the text.
        prefix: id of the token that stands before the first.
        longest: tokens of a window.

    Raises:
        SteeringError: for a text without tokens.
    """
    if not tokens:
        raise SteeringError(
            "a text of 0 tokens has no log-likelihood: leave this task out, or its documents with an empty text"
        )
    return tuple(map(make_disjoint_window, get_rolling_token_windows(list(tokens), prefix, longest, context_len=1)))


def refuse_rule(name: str) -> None:
    """Refuse a token rule that tells a prompt from what follows it, since a text has none.

    Args:
        name: of the rule.

    Raises:
        SteeringError: then.
    """
    if token_rule(name).needs_prompt:
        raise SteeringError(
            f"tokens={name!r} has no meaning for loglikelihood_rolling, which has no prompt: use tokens=all"
        )
