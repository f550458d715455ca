"""Generation arguments of a request: checked before a model is loaded, and before the harness reads them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lm_eval_steer.errors import SteeringError

_LIMITS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
"""What the harness takes for the limit of new tokens, the first of them that is given."""


ANSWER = "max_answer_toks"
"""Limit of the visible part of a response, behind `think_end_token`; the harness has none."""


def check_generation(told: Mapping[str, Any]) -> None:
    """Refuse values that the harness cannot read, and a limit below 1.

    Args:
        told: arguments of a request, or those of --gen_kwargs.

    Raises:
        SteeringError: names the argument.
    """
    answer = told.get(ANSWER)
    if answer is not None and (isinstance(answer, bool) or not isinstance(answer, int) or answer < 1):
        raise SteeringError(f"{ANSWER}={answer!r} in the generation arguments is no number of 1 or more")
    name = next((name for name in _LIMITS if told.get(name) is not None), "")
    if name and _read(told, name, int, "a whole number") < 1:
        raise SteeringError(f"{name}={told[name]} lets nothing be written: give 1 or more")
    if "temperature" in told:
        _read(told, "temperature", float, "a number")
    until = told.get("until", [])
    if not isinstance(until, str) and not (isinstance(until, list) and all(isinstance(one, str) for one in until)):
        raise SteeringError(
            f"until={until!r} in the generation arguments is not understood: give a text or a list of texts, as in "
            'until=["Question:"]'
        )


def check_thinking(model_args: Mapping[str, Any], told: Mapping[str, Any] | None = None) -> None:
    """Refuse thoughts of which nobody says where they end.

    Args:
        model_args: of a model class.
        told: arguments of a request, or those of --gen_kwargs; None for none.

    Raises:
        SteeringError: where `enable_thinking=True` or a limit of the visible part lacks `think_end_token`.
    """
    if model_args.get("think_end_token") not in (None, ""):
        return
    if model_args.get("enable_thinking"):
        raise SteeringError(
            "enable_thinking=True needs to know where a thought ends: add think_end_token to --model_args, as in "
            "think_end_token=</think>"
        )
    if (told or {}).get(ANSWER) is not None:
        raise SteeringError(
            f"{ANSWER} limits what stands behind a thought, and nothing says where that ends: add think_end_token to "
            "--model_args, as in think_end_token=</think>, or use max_gen_toks, the limit of the whole response"
        )


def limits_answer(told: Mapping[str, Any]) -> bool:
    """Whether generation arguments have a limit of the visible part."""
    return told.get(ANSWER) is not None


def draws_tokens(told: Mapping[str, Any]) -> bool:
    """Whether generation arguments ask for tokens to be drawn; rather yes, where they cannot be read."""
    return bool(told.get("do_sample")) or str(told.get("temperature") or 0).strip("0.") != ""


def _read(told: Mapping[str, Any], name: str, kind: type[int] | type[float], what: str) -> float:
    """A number as the harness reads it."""
    try:
        return kind(told[name])
    except (TypeError, ValueError, OverflowError):
        raise SteeringError(
            f"{name}={told[name]!r} in the generation arguments is not understood: give {what}"
        ) from None
