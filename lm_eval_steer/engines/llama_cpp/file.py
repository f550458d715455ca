"""A GGUF file opened by llama.cpp: its shape, its tokens, its texts. Alone with context.py it speaks to the library."""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import llama_cpp
from gguf import LlamaFileType

from lm_eval_steer.errors import SteeringError

_MAGIC = b"GGUF"
_ERROR = 3
"""llama.cpp's number of the level of errors (ggml_log_level)."""
_said: list[str] = []
"""What it said of the last thing that failed, in order."""


@llama_cpp.llama_log_callback
def _listen(level: int, text: bytes, _: Any) -> None:
    """Keep errors, and show nothing: it says much about every file that it loads."""
    if level == _ERROR:
        _said.append(" ".join(text.decode(errors="replace").split()))


class GgufFile:
    """A model in a GGUF file, loaded.

    Args:
        path: of the file; of several parts, the first.
        gpu_layers: how many blocks are put on a GPU, of which the library has to be built with one.

    Attributes:
        handle: llama.cpp's own.
        depth: how many blocks it has.
        width: its hidden size.
        context: positions that it was trained on.
        parameters: how many it has.
        dtype: of most weights, as in `Q4_1`.
        architecture: by llama.cpp's name.
        chat_template: the default one, in Jinja; None for none.

    Raises:
        SteeringError: for a file that is not there, is none in GGUF or cannot be loaded, and for one with an encoder.
    """

    def __init__(self, path: str, gpu_layers: int = 0) -> None:
        _refuse_other(path)
        llama_cpp.llama_log_set(_listen, ctypes.c_void_p(0))
        llama_cpp.llama_backend_init()
        told = llama_cpp.llama_model_default_params()
        told.n_gpu_layers = gpu_layers
        _said.clear()
        self.handle = llama_cpp.llama_model_load_from_file(path.encode(), told)
        if not self.handle:
            raise SteeringError(f"llama.cpp cannot load {path}: {_said[0] if _said else 'it does not say why'}")
        weakref.finalize(self, llama_cpp.llama_model_free, self.handle)
        if llama_cpp.llama_model_has_encoder(self.handle):
            raise SteeringError(f"{path} is a model with an encoder, and steered-gguf steers decoders: use steered-hf")
        self.depth = llama_cpp.llama_model_n_layer(self.handle)
        self.width = llama_cpp.llama_model_n_embd(self.handle)
        self.context = llama_cpp.llama_model_n_ctx_train(self.handle)
        self.parameters = llama_cpp.llama_model_n_params(self.handle)
        self.architecture = self._said_in_header("general.architecture")
        self.dtype = _dtype(self._said_in_header("general.file_type"))
        template = llama_cpp.llama_model_chat_template(self.handle, None)
        self.chat_template: str | None = template.decode() if template else None
        self._vocabulary = llama_cpp.llama_model_get_vocab(self.handle)
        self.size = llama_cpp.llama_vocab_n_tokens(self._vocabulary)
        self.bos = llama_cpp.llama_vocab_bos(self._vocabulary)
        self.eos = llama_cpp.llama_vocab_eos(self._vocabulary)

    def _said_in_header(self, key: str) -> str:
        room = ctypes.create_string_buffer(256)
        length = llama_cpp.llama_model_meta_val_str(self.handle, key.encode(), room, len(room))
        return room.value.decode(errors="replace") if length > 0 else ""

    # Texts and tokens

    def encode(self, text: str, begins: bool) -> list[int]:
        """Token ids of a text, in which special tokens may be written out.

        Args:
            text: any.
            begins: whether it begins a sequence: the tokens that the model wants there are put before it.
        """
        data = text.encode()
        room = (llama_cpp.llama_token * (len(data) + 8))()
        count = llama_cpp.llama_tokenize(self._vocabulary, data, len(data), room, len(room), begins, True)
        return list(room[:count])

    def decode(self, tokens: Sequence[int], special: bool) -> str:
        """The text of token ids, with special tokens or without; bytes that are no UTF-8 are replaced."""
        ids = (llama_cpp.llama_token * len(tokens))(*tokens)
        room = ctypes.create_string_buffer(16 * len(tokens) + 16)
        for _ in range(2):
            length = llama_cpp.llama_detokenize(self._vocabulary, ids, len(ids), room, len(room), False, special)
            if length >= 0:
                break
            room = ctypes.create_string_buffer(-length)
        return room.raw[: max(length, 0)].decode(errors="replace")

    def ends(self, token: int) -> bool:
        """Whether a text ends with a token."""
        return bool(llama_cpp.llama_vocab_is_eog(self._vocabulary, token))

    def special(self) -> dict[str, int]:
        """The special tokens, as they are written."""
        control = llama_cpp.LLAMA_TOKEN_ATTR_CONTROL
        found = [one for one in range(self.size) if llama_cpp.llama_vocab_get_attr(self._vocabulary, one) & control]
        return {llama_cpp.llama_vocab_get_text(self._vocabulary, one).decode(errors="replace"): one for one in found}


def _refuse_other(path: str) -> None:
    """Refuse what is no GGUF file.

    Raises:
        SteeringError: says what it is instead.
    """
    file = Path(path)
    if file.is_dir():
        raise SteeringError(f"{path} is a folder, and steered-gguf loads a file: name one, as in {path}/model.gguf")
    if not file.is_file():
        raise SteeringError(f"there is no file {path}: name a model in GGUF, as in pretrained=model.gguf")
    try:
        with file.open("rb") as opened:
            begins = opened.read(len(_MAGIC))
    except OSError as error:
        raise SteeringError(f"{path} cannot be read ({error.strerror})") from None
    if begins != _MAGIC:
        raise SteeringError(f"{path} is no GGUF file, which begins with {_MAGIC!r} and not with {begins!r}")


def _dtype(number: str) -> str:
    """The kind of most tensors, by the number that the header has for it."""
    known = {str(int(one)): one.name for one in LlamaFileType}
    return known.get(number, "unknown").removeprefix("MOSTLY_").removeprefix("ALL_")
