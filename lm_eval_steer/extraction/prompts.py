"""A model's chat template up to where its answer begins, with the thought closed that it may open there."""

from __future__ import annotations

from typing import Any

import jinja2

from lm_eval_steer.answers import opened_thought, visible
from lm_eval_steer.errors import SteeringError

_HARMONY = "<|end|><|start|>assistant<|channel|>final<|message|>"


class ParentTemplate:
    """Renders turns to a prompt behind which a completion is said aloud, and no part of a thought.

    Templates of models that think (DeepSeek-R1, QwQ) open `<think>` at the end of a prompt. What follows would be read
    as a thought, the bare answer of a pair's negative side, too.

    Attributes:
        thought: what was done about a thought that the template opened: `closed with` a mark, or `left open` where no
            mark is known that closes it; empty where it opens none.
    """

    def __init__(self, lm: Any) -> None:
        """`lm`: an LM of the harness.

        Raises:
            SteeringError: where it has no chat template.
        """
        require_chat_template(lm)
        self._lm = lm
        self.thought = ""

    def __call__(self, turns: list[dict[str, str]], opens: bool = True) -> str:
        """The prompt of a conversation; without `opens`, its last turn is the model's and goes on.

        Raises:
            SteeringError: where the template itself fails.
        """
        prompt = rendered(self._lm, turns, opens)
        if not opens:
            return prompt
        mark = opened_thought(prompt)
        if not mark:
            return prompt
        closing = closing_mark(prompt, mark)
        self.thought = f"closed with {closing}" if closing else f"left open behind {mark}"
        return f"{prompt.rstrip()}\n{closing}\n\n" if closing else prompt


def require_chat_template(lm: Any) -> None:
    """Refuse --apply_chat_template for a model whose tokenizer has none.

    Raises:
        SteeringError: names the model.
    """
    tokenizer = getattr(lm, "tokenizer", None)
    if tokenizer is not None and getattr(tokenizer, "chat_template", "") is None:
        name = getattr(lm, "pretrained", type(lm).__name__)
        raise SteeringError(f"{name} has no chat template: leave out --apply_chat_template")


def rendered(lm: Any, turns: list[dict[str, str]], opens: bool = True) -> Any:
    """A conversation in the chat template of an LM of the harness (text; for an API, what it sends).

    Raises:
        SteeringError: where the template fails.
    """
    try:
        return lm.apply_chat_template(turns) if opens else lm.apply_chat_template(turns, False)
    except SteeringError:
        raise
    except (jinja2.TemplateError, ValueError, TypeError) as error:
        raise SteeringError(f"the model's chat template fails ({error}): leave out --apply_chat_template") from None


def closing_mark(prompt: str, opening: str) -> str:
    """What closes the thought that `opening` opened at the end of a prompt; empty where that is not known."""
    first = next((place for place, character in enumerate(opening) if character.isalpha()), 0)
    slashed = f"{opening[:first]}/{opening[first:]}"
    ended = opening.replace("START", "END").replace("start", "end").replace("begin", "end").replace("prefix", "suffix")
    candidates = (slashed, ended, "Here is my response:", "<channel|>", _HARMONY)
    return next((mark for mark in candidates if mark != opening and visible(mark, prompt) is not None), "")
