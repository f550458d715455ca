"""A parent or child, known by its configuration and its files before it is loaded, and often instead of that."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import torch
import transformers

from lm_eval_steer.engines.hf.blocks import find_blocks, hidden_size, text_config
from lm_eval_steer.extraction.extract import load_parent, refuse_steered
from lm_eval_steer.files import is_folder
from lm_eval_steer.models.checkpoint import PARTS, checkpoint_digest, hub_commit, weights_digest
from lm_eval_steer.models.hf import SteeredHF
from lm_eval_steer.models.load import loading
from lm_eval_steer.models.neutral import NEUTRAL


class Model:
    """A model that a transfer reads from or writes for.

    Args:
        arguments: of the harness's `hf` model, `pretrained` among them.
        device: where it runs; None as the harness chooses.
        option: the option that they came from, for sentences.

    Raises:
        SteeringError: for arguments that name no model, or that steer it.
    """

    def __init__(self, arguments: Mapping[str, Any], device: str | None = None, option: str = "--model_args") -> None:
        self.arguments = dict(arguments)
        self.device = device
        refuse_steered(self.arguments, option)

    @property
    def name(self) -> str:
        """Of a folder its own name, as a path says nothing on another machine; otherwise the name on the hub."""
        pretrained = str(self.arguments["pretrained"])
        return os.path.basename(os.path.abspath(pretrained)) if is_folder(pretrained) else pretrained

    @property
    def revision(self) -> str:
        """The commit of a model of the hub that this machine has; otherwise what was asked for."""
        return hub_commit(self.arguments) or str(self.arguments.get("revision") or "main")

    @cached_property
    def digest(self) -> str | None:
        """Of all that would be loaded (models/checkpoint.py); None for what is not on this machine yet."""
        return checkpoint_digest(self.arguments)

    @cached_property
    def description(self) -> dict[str, Any]:
        """What a passport says of it: name, revision, architecture, num_blocks, hidden_size, dtype and digest (that of
        its weights, by which it is known again).

        Its blocks are counted on a model without weights, as those of the model itself are.

        Raises:
            SteeringError: where its configuration cannot be read, or its blocks not told.
        """
        model = self.empty()
        dtype = self.arguments.get("dtype")
        dtype = text_config(model).dtype if dtype in (None, "auto") else dtype
        return {
            "name": self.name,
            "revision": self.revision,
            "architecture": text_config(model).model_type,
            "num_blocks": len(find_blocks(model, self.arguments.get("blocks"))),
            "hidden_size": hidden_size(model),
            "dtype": None if dtype is None else str(dtype).removeprefix("torch."),
            "digest": weights_digest(self.arguments),
        }

    @property
    def shape(self) -> tuple[int, int]:
        """How many blocks it has, and the width of its residual stream."""
        return self.description["num_blocks"], self.description["hidden_size"]

    @property
    def settings(self) -> dict[str, str]:
        """What else changes its states: all arguments but those that change nothing, or that the digest knows."""
        known = ("pretrained", "revision", *PARTS) if self.digest else ()
        others = (key for key in sorted(self.arguments) if key not in NEUTRAL and key not in known)
        return {key: str(self.arguments[key]) for key in others}

    def load(self) -> SteeredHF:
        """The model itself, unsteered.

        Raises:
            SteeringError: where it cannot be loaded.
        """
        model = load_parent(self.arguments, self.device)
        if self.digest is None:  # it was brought from the hub just now
            for name in ("digest", "description"):
                vars(self).pop(name, None)
        return model

    def empty(self) -> transformers.PreTrainedModel:
        """The model of its configuration, without weights and memory."""
        told = self.arguments
        trust = bool(told.get("trust_remote_code"))
        named = {"revision": "main", "subfolder": "", "gguf_file": None, "cache_dir": None}
        where = {key: told.get(key) or default for key, default in named.items()}
        with loading(told["pretrained"], told):
            config = transformers.AutoConfig.from_pretrained(told["pretrained"], trust_remote_code=trust, **where)
            kind = (
                transformers.AutoModelForSeq2SeqLM if config.is_encoder_decoder else transformers.AutoModelForCausalLM
            )
            with torch.device("meta"):
                return kind.from_config(config, trust_remote_code=trust)
