"""What a task asks of a document, as the harness puts it, behind examples that are the same for all documents."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

Render = Callable[..., str]
"""A conversation as text: of turns, and whether the answer is opened behind them (True where that is not said)."""


class Prompts:
    """What a task asks of a document, as the harness puts it, behind examples that are the same for all documents.

    Args:
        task: of the harness.
        render: the parent's chat template, with examples as turns; None for plain text.
        shots: the examples.
        system: a system instruction before the task's own description.
        answer: gives the answer of an example instead of the task.
    """

    def __init__(
        self,
        task: Any,
        render: Render | None,
        shots: Sequence[Any] = (),
        system: str | None = None,
        answer: Callable[[Any], str] | None = None,
    ) -> None:
        self._task = copy.copy(task)
        self._task.sampler = _Drawn(shots)
        if answer is not None:
            self._task.fewshot_cfg = replace(task.fewshot_cfg, doc_to_target=answer)
        self._render, self._shots, self._system = render, len(shots), system

    def __call__(self, doc: Any) -> Any:
        """The prompt up to where the answer begins; a list of them where the options are in the prompts."""
        return self._task.fewshot_context(
            doc,
            self._shots,
            system_instruction=self._system,
            apply_chat_template=self._render is not None,
            fewshot_as_multiturn=self._render is not None,
            chat_template=self._open,
            gen_prefix=self._task.doc_to_prefix(doc),
        )

    def _open(self, turns: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        assert self._render is not None  # is asked where there is a template
        return self._render(turns) if add_generation_prompt else self._render(turns, False)


class _Drawn:
    """In place of a task's sampler: the same examples for every document."""

    def __init__(self, shots: Sequence[Any]) -> None:
        self._shots = list(shots)

    def sample(self, n: int, *_: Any, **__: Any) -> list[Any]:
        return self._shots[:n]


def of_gold(task: Any, doc: Any, context: Any) -> str:
    """The prompt; of several, one for each option, that of the right one."""
    if isinstance(context, str):
        return context
    return str(context[task.doc_to_text(doc)])
