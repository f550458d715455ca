"""The digest of a model, or a tokenizer, that was handed over as an object and has no files (see checkpoint.py)."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import torch
from torch import Tensor

NUMBERS = 2**22
"""About as many numbers of a model are looked at, those of every tensor in equal shares and evenly spaced."""


def model_digest(model: Any) -> str:
    """SHA-256 of samples of all parameters and buffers that a model would save, and of its configurations."""
    sha = hashlib.sha256()
    for config in ("config", "generation_config"):
        sha.update(_as_text(getattr(model, config, None)))
    # Not `parameters()`: what quantised layers save holds their scales, too.
    state = model.state_dict()
    share = max(32, NUMBERS // max(len(state), 1))
    for name in sorted(state):
        sha.update(name.encode())
        _add(sha, state[name], share)
    return sha.hexdigest()


def tokenizer_digest(tokenizer: Any) -> str:
    """SHA-256 of how a tokenizer makes tokens of text, and of its chat template."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    tokens = backend.to_str() if backend is not None else sorted(tokenizer.get_vocab().items())
    shown = [tokens, getattr(tokenizer, "chat_template", None), repr(getattr(tokenizer, "special_tokens_map", None))]
    return hashlib.sha256(json.dumps(shown, default=str).encode()).hexdigest()


def _add(sha: Any, value: Any, share: int) -> None:
    """Take in a tensor, by what it consists of where it is one of several (quantised weights of torchao)."""
    if not isinstance(value, Tensor):
        sha.update(repr(value).encode())
        return
    sha.update(f"{tuple(value.shape)} {value.dtype}".encode())
    if hasattr(value, "__tensor_flatten__"):
        for name in value.__tensor_flatten__()[0]:
            _add(sha, getattr(value, name), share)
    elif value.device.type != "meta" and value.numel():  # such lie on the disk
        flat = value.detach().reshape(-1)
        flat = flat[:: -(-flat.numel() // share)].cpu()
        sha.update((torch.view_as_real(flat) if flat.is_complex() else flat).double().numpy().tobytes())


def _as_text(config: Any) -> bytes:
    content = config.to_dict() if hasattr(config, "to_dict") else {}
    kept = {key: value for key, value in content.items() if key not in ("_name_or_path", "transformers_version")}
    return json.dumps(kept, sort_keys=True, default=str).encode()
