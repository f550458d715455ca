"""What the harness has no class for: texts and conversations in the tokens of a GGUF file."""

from __future__ import annotations

from typing import Any

from lm_eval.api.model import TemplateLM
from transformers.utils.chat_template_utils import render_jinja_template

from lm_eval_steer.engines.llama_cpp.tokenizer import Tokenizer
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.models.chat import Messages


class GgufTexts(TemplateLM):
    """A class of the harness, whose methods do here what HFLM's do.

    Attributes:
        tokenizer: llama.cpp's.
        chat_template_args: handed to the chat template.
    """

    tokenizer: Tokenizer
    chat_template_args: dict[str, Any]
    _max_length: int
    _max_gen_toks: int

    @property
    def max_length(self) -> int:
        """Positions of the context."""
        return self._max_length

    @property
    def max_gen_toks(self) -> int:
        """Limit of new tokens where a task names none."""
        return self._max_gen_toks

    @property
    def eot_token_id(self) -> int:
        return self.tokenizer.eos

    @property
    def prefix_token_id(self) -> int:
        """The token before a text that has none before it: that of the beginning, where there is one, as in HFLM."""
        return self.tokenizer.bos if self.tokenizer.bos >= 0 else self.tokenizer.eos

    @property
    def tokenizer_name(self) -> str:
        return self.tokenizer.name_or_path

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **kwargs: Any) -> list[int]:
        return self.tokenizer.encode(string, add_special_tokens is not False)

    def apply_chat_template(self, chat_history: Messages, add_generation_prompt: bool = True) -> str:
        return self._templated(chat_history, add_generation_prompt, continue_final_message=not add_generation_prompt)

    def _templated(self, messages: Messages, add_generation_prompt: bool = False, **more: bool) -> str:
        """A conversation in the file's chat template, as transformers renders it.

        Raises:
            SteeringError: where the file has none.
        """
        if not self.tokenizer.chat_template:
            raise SteeringError(f"{self.tokenizer.name_or_path} has no chat template: leave out --apply_chat_template")
        tokens = {"bos_token": self.tokenizer.bos_token, "eos_token": self.tokenizer.eos_token}
        rendered = render_jinja_template(
            conversations=[messages],
            add_generation_prompt=add_generation_prompt,
            **({"chat_template": self.tokenizer.chat_template} | tokens | more | self.chat_template_args),
        )
        return str(rendered[0][0])
