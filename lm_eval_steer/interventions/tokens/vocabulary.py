"""What each token of a tokenizer stands for, in bytes."""

from __future__ import annotations

import re
from typing import Any

_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_PRINTABLE = (*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100))
_OTHERS = [byte for byte in range(256) if byte not in _PRINTABLE]
BYTE_LEVEL = {chr(byte): byte for byte in _PRINTABLE} | {chr(256 + place): byte for place, byte in enumerate(_OTHERS)}
"""The characters in which byte-level tokenizers (GPT-2 and its kin) write bytes."""


def vocabulary_of(tokenizer: Any) -> list[bytes]:
    """The bytes of each token, in the order of their ids; none for an id that is no token.

    Byte-level tokens and those of SentencePiece (`▁` for a space, `<0x0A>` for a byte) are read; a token that was
    added, as special ones are, stands for its name.

    Args:
        tokenizer: of transformers, or one that has its `convert_ids_to_tokens` and `added_tokens_decoder`.
    """
    names: list[str | None] = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    added = {int(number): str(token) for number, token in tokenizer.added_tokens_decoder.items()}
    own = [name for number, name in enumerate(names) if name and number not in added]
    read = _from_bytes if set().union(*own) <= BYTE_LEVEL.keys() else _from_pieces
    return [
        added[number].encode() if number in added else read(name) if name else b"" for number, name in enumerate(names)
    ]


def _from_bytes(name: str) -> bytes:
    return bytes(map(BYTE_LEVEL.__getitem__, name))


def _from_pieces(name: str) -> bytes:
    byte = _BYTE.fullmatch(name)
    return bytes([int(byte[1], 16)]) if byte else name.replace("▁", " ").encode()
