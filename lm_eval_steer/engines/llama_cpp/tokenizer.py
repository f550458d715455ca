"""The tokens of a GGUF file under the names that the harness and transformers have for those of a model."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from lm_eval_steer.engines.llama_cpp.file import GgufFile


class Tokenizer:
    """llama.cpp's own tokenizer, as people run it beside the model.

    Args:
        file: the model.
        path: of the file.

    Attributes:
        name_or_path: the file's name.
        chat_template: in Jinja; None for none.
        bos: id of the token that begins a sequence; -1 for none.
        eos: id of the token that ends a text; -1 for none.
    """

    def __init__(self, file: GgufFile, path: str) -> None:
        self._file = file
        self.name_or_path = Path(path).name
        self.chat_template = file.chat_template
        self.bos, self.eos = file.bos, file.eos

    @cached_property
    def _special(self) -> dict[str, int]:
        return self._file.special()

    @property
    def all_special_tokens(self) -> list[str]:
        """Special tokens, as they are written."""
        return list(self._special)

    @property
    def all_special_ids(self) -> list[int]:
        """Their ids, in the same order."""
        return list(self._special.values())

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        """Token ids of a text; at its beginning those that the model wants there, once."""
        begins = add_special_tokens and not (self.bos_token and text.startswith(self.bos_token))
        return self._file.encode(text, begins)

    def decode(self, tokens: int | Sequence[int], skip_special_tokens: bool = False) -> str:
        """The text of token ids."""
        return self._file.decode([tokens] if isinstance(tokens, int) else list(tokens), not skip_special_tokens)

    @property
    def bos_token(self) -> str:
        """The token that begins a sequence, as it is written; empty for none."""
        return self.decode(self.bos) if self.bos >= 0 else ""

    @property
    def eos_token(self) -> str:
        """The token that ends a text, as it is written."""
        return self.decode(self.eos) if self.eos >= 0 else ""
