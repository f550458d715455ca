"""`low_rank`: h' = h + α·(hA + b)Cᵀ, a map of low rank that a file brings (LoReFT, LM-Steer, LEACE)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from lm_eval_steer.interventions.operators.operator import OF_THE_FILE, Operator, is_not_zero


def low_rank(hidden: Tensor, strength: Tensor, rows: Tensor) -> Tensor:
    """h' = h + α·(hA + b)Cᵀ; a strength of 0 leaves h as it is, bit for bit.

    Args:
        hidden: [rows, positions, hidden].
        strength: [rows, positions, 1].
        rows: the map (`as_rows`) [1 + 2 rank, hidden]; of each head, where h is [..., heads, head_dim], one of its own
            [heads, 1 + 2 rank, head_dim].
    """
    dtype = torch.promote_types(hidden.dtype, torch.float32)
    before, rows = hidden.to(dtype), rows.to(dtype)
    shift, read, write = rows[..., 0, :], rows[..., 1::2, :], rows[..., 2::2, :]
    if rows.dim() == 2:
        moved = before @ read.T @ write + shift
    else:
        moved = (before[..., None, :] @ read.mT @ write)[..., 0, :] + shift
    return torch.addcmul(before, strength.to(dtype), moved).to(hidden.dtype)


def as_rows(read: np.ndarray, shift: np.ndarray, write: np.ndarray) -> np.ndarray:
    """A map as an edit has it, float32 [1 + 2 rank, hidden]: Cb, then each column of A with the same one of C.

    Args:
        read: A [hidden, rank].
        shift: b [rank].
        write: C [hidden, rank].
    """
    pairs = np.stack([read.T, write.T], axis=1).reshape(-1, len(read))
    return np.concatenate([(write.astype(np.float64) @ shift)[None], pairs]).astype(np.float32)


LOW_RANK = Operator(low_rank, is_not_zero, is_shift=False, strength="share", signed=True, directions=OF_THE_FILE)
