"""`add_keep_norm`: `add`, then back to the length that h had (repeng's and RepE's `normalize`)."""

from __future__ import annotations

import torch
from torch import Tensor

from lm_eval_steer.interventions.operators.operator import Operator, is_not_zero, length_of


def add_keep_norm(hidden: Tensor, strength: Tensor, direction: Tensor) -> Tensor:
    """`add`, then scaled back to the length that h had; at a strength of 0, h, bit for bit: its scale is 1."""
    return add_and_keep(length_of(hidden), hidden, strength, direction)


def add_and_keep(length: Tensor, hidden: Tensor, strength: Tensor, direction: Tensor) -> Tensor:
    """`add`, then scaled to a length [rows, positions, 1]."""
    after = torch.addcmul(hidden, strength, direction)
    return after * (length / length_of(after).clamp_min(torch.finfo(hidden.dtype).tiny))


ADD_KEEP_NORM = Operator(add_keep_norm, is_not_zero, is_shift=False)
