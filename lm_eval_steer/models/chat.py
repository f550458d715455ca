"""System prompts for chat templates that refuse a system role."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jinja2

Messages = list[dict[str, str]]

_PROBE = "steering-probe-4f1c"


def accepts_system_role(render: Callable[[Messages], str]) -> bool:
    """Whether a chat template takes a system message and shows it.

    Args:
        render: the tokenizer's own rendering of messages to text.
    """
    try:
        return _PROBE in render([{"role": "system", "content": _PROBE}, {"role": "user", "content": "Hello"}])
    except jinja2.exceptions.TemplateError:
        return False


def names_without_default(tokenizer: Any) -> list[str]:
    """Names of the chat templates of a tokenizer of which none is the default, so that one must be chosen."""
    templates = getattr(tokenizer, "chat_template", None)
    return sorted(templates) if isinstance(templates, dict) and "default" not in templates else []


def merge_system_role(messages: Messages) -> Messages:
    """Move a leading system message into the first user turn, parted from it by an empty line."""
    if not messages or messages[0]["role"] != "system":
        return messages
    system, *turns = messages
    if not turns or turns[0]["role"] != "user":
        return [{**system, "role": "user"}, *turns]
    first, *rest = turns
    return [{**first, "content": f"{system['content'].rstrip()}\n\n{first['content']}"}, *rest]
