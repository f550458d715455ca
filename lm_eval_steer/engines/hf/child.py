"""Child: a model as an engine needs it, which knows nothing of the harness."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedModel

from lm_eval_steer.engines.hf.blocks import base_model


@dataclass(frozen=True, eq=False)
class Child:
    """What runs, where, and within which limits.

    Attributes:
        model: a transformers model, also under PEFT.
        tokenizer: its own.
        device: where token ids go.
        max_length: tokens that the model takes at once.
        max_rows: the most rows of a batch whose size is chosen from the free memory.
        prefix: token id that stands for an empty text.
        autocast_dtype: in which the model is run under `torch.autocast`; None for the model's own.
        softmax_dtype: in which log-probabilities of continuations are computed; None for that of the logits.
    """

    model: Any
    tokenizer: Any
    device: torch.device
    max_length: int
    max_rows: int = 64
    prefix: int = 0
    autocast_dtype: torch.dtype | None = None
    softmax_dtype: torch.dtype | None = None

    @property
    def base(self) -> PreTrainedModel:
        """The transformers model under a PEFT wrapper, or the model itself."""
        return base_model(self.model)

    @property
    def name(self) -> str:
        """Of the model's class."""
        return type(self.base).__name__

    def autocast(self) -> torch.autocast:
        """The context in which the model is run."""
        dtype = self.autocast_dtype
        return torch.autocast(device_type=self.device.type, dtype=dtype, enabled=dtype is not None)
