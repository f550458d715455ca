"""Prompts of a steered model class: rendered in the template that was chosen, on one day, with its system role."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.models.chat import Messages, accepts_system_role, merge_system_role, names_without_default
from lm_eval_steer.models.dates import clock_at

if TYPE_CHECKING:
    from lm_eval.api.model import TemplateLM as Base
else:
    Base = object  # the class of the harness comes behind this one among the bases


class Prompts(Base):
    """The first base of a steered model class (models/base.py).

    A subclass brings `_render` and `_follow_template`, and sets `_merges_system`.
    """

    chat_template_args: dict[str, Any]
    _merges_system: bool  # a system prompt goes into the first user turn
    _model_settings: dict[str, Any]

    def _render(self, messages: Messages) -> str:
        """A conversation in the model's chat template."""
        raise NotImplementedError

    def _follow_template(self) -> None:
        """Take notice of what a newly chosen template asks for."""
        raise NotImplementedError

    def apply_chat_template(self, chat_history: Messages, add_generation_prompt: bool = True) -> str:
        self._refuse_no_template()
        if self._merges_system:
            chat_history = merge_system_role(chat_history)
        with clock_at(self._model_settings.get("date")):
            return super().apply_chat_template(chat_history, add_generation_prompt)

    def chat_template(self, chat_template: bool | str = False) -> str | None:
        """The template of a name, which from now on prompts are rendered in where the tokenizer has no default one.

        Raises:
            SteeringError: for a name that there is not, and where one must be given.
        """
        if chat_template is True:
            self._refuse_no_template()
        try:
            found = super().chat_template(chat_template)
        except ValueError as error:
            raise SteeringError(f"--apply_chat_template {chat_template}: {error}") from None
        if found and isinstance(chat_template, str) and names_without_default(self.tokenizer):
            self._choose_template(found)
            self._follow_template()
        return found

    def _choose_template(self, template: str) -> None:
        """Render prompts in a template from now on."""
        self.chat_template_args = {**self.chat_template_args, "chat_template": template}

    def _has_template(self) -> bool:
        """Whether it is known which template prompts would be rendered in."""
        if getattr(self.tokenizer, "chat_template", None) is None:
            return False
        return not names_without_default(self.tokenizer) or "chat_template" in self.chat_template_args

    def _refuse_no_template(self) -> None:
        names = names_without_default(self.tokenizer)
        if names and not self._has_template():
            raise SteeringError(
                f"the tokenizer has chat templates named {', '.join(names)} and no default: name one, as in "
                f"--apply_chat_template {names[0]}, or in --model_args with chat_template_args="
                f'{{"chat_template": "{names[0]}"}}'
            )

    def _merges(self, system_role: str) -> bool:
        """Whether a system prompt has to go into the first user turn, where that is asked for by `merge`."""
        return system_role == "merge" and self._has_template() and not accepts_system_role(self._render)

    @property
    def tokenizer_name(self) -> str:
        """The harness names cached prompts by it: merged prompts, and those of another day, must not be served."""
        day = self._model_settings.get("date")
        merged = "__system_merged" if self._merges_system else ""
        return super().tokenizer_name + merged + (f"__{day}" if day else "")
