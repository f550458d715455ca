"""The date that a chat template prints (Llama 3.2, Granite, gpt-oss): one per record, so that prompts outlive midnight.

transformers gives templates a function `strftime_now`, which reads the clock at every prompt. Here the clock stands
still at a date that is fixed when a model is loaded, and that is the record's where the record has one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import date, datetime
from typing import Any

import jinja2
from transformers.utils import chat_template_utils

from lm_eval_steer.models.chat import Messages

_PROBES: tuple[Messages, ...] = (
    [{"role": "user", "content": "Hello"}],
    [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}],
)


def asks_for_date(templates: Iterable[Any], render: Callable[[Messages], object]) -> bool:
    """Whether a chat template prints the time; one that was given its date as an argument (`date_string`) does not.

    Args:
        templates: texts, texts by name, or None; where none of them names the function, nothing is rendered.
        render: the model's own rendering of messages to text.
    """
    if not any("strftime_now" in str(template) for template in templates):
        return False
    clock = _Clock(datetime(2000, 1, 1))
    with _reading(clock):
        for messages in _PROBES:
            with suppress(jinja2.TemplateError, ValueError, KeyError, TypeError):  # a role that is refused, no template
                render(messages)
    return clock.asked


def today() -> str:
    """The date that templates print by themselves, `2026-11-28`."""
    return str(_transformers.datetime.now().date().isoformat())


@contextmanager
def clock_at(day: str | None) -> Iterator[None]:
    """Have templates print `day`, at its first moment; None leaves them their clock."""
    if day is None:
        yield
    else:
        with _reading(_Clock(datetime.fromisoformat(day))):
            yield


def date_among(contents: Iterable[Mapping[str, Any]]) -> str | None:
    """The first date in the settings of a record; None where its templates asked for none."""
    for content in contents:
        model = content.get("model")
        day = model.get("date") if isinstance(model, dict) else None
        if isinstance(day, str):
            with suppress(ValueError):
                return date.fromisoformat(day).isoformat()
    return None


class _Clock:
    """Stands still, in place of the class `datetime`, and notes whether it was read."""

    def __init__(self, moment: datetime) -> None:
        self._moment, self.asked = moment, False

    def now(self) -> datetime:
        self.asked = True
        return self._moment


_transformers: Any = chat_template_utils


@contextmanager
def _reading(clock: _Clock) -> Iterator[None]:
    """`strftime_now` of transformers 5 is `datetime.now().strftime`, and its templates take no other one."""
    before = _transformers.datetime
    _transformers.datetime = clock
    try:
        yield
    finally:
        _transformers.datetime = before
