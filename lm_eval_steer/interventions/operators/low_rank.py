"""`low_rank`: h' = h + α·(hA + b)Cᵀ, a map of low rank that a file brings (LoReFT, LEACE, LM-Steer)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from lm_eval_steer.interventions.operators.operator import OF_THE_FILE, Operator, is_not_zero


def low_rank(hidden: Tensor, strength: Tensor, shift: Tensor, read: Tensor, write: Tensor) -> Tensor:
    """h' = h + α·(hA + b)Cᵀ; a strength of 0 leaves h as it is, bit for bit.

    Args:
        hidden: [rows, positions, hidden], or [rows, positions, heads, head_dim].
        strength: [rows, positions, 1].
        shift: Cb [hidden], or [heads, head_dim].
        read, write: Aᵀ and Cᵀ [rank, hidden], or of each head its own [heads, rank, head_dim].
    """
    if read.dim() == 2:
        moved = hidden @ read.mT @ write + shift
    else:
        moved = (hidden[..., None, :] @ read.mT @ write)[..., 0, :] + shift
    return torch.addcmul(hidden, strength, moved)


def _prepare(rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of a map (`as_rows`) [1 + 2 rank, hidden], or of a map for each head [heads, 1 + 2 rank, head_dim]."""
    return rows[..., 0, :], rows[..., 1::2, :].contiguous(), rows[..., 2::2, :].contiguous()


def as_rows(read: np.ndarray, shift: np.ndarray, write: np.ndarray) -> np.ndarray:
    """A map as an edit has it, float32 [1 + 2 rank, hidden]: Cb, then each column of A with the same one of C.

    Args:
        read: A [hidden, rank].
        shift: b [rank].
        write: C [hidden, rank].
    """
    pairs = np.stack([read.T, write.T], axis=1).reshape(-1, len(read))
    return np.concatenate([(write.astype(np.float64) @ shift)[None], pairs]).astype(np.float32)


LOW_RANK = Operator(
    low_rank, is_not_zero, is_shift=False, strength="share", signed=True, directions=OF_THE_FILE, prepare=_prepare
)
