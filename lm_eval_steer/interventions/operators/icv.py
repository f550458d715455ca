"""`icv`: `add_keep_norm` with more strength where h points away from v, as In-Context Vectors are added."""

from __future__ import annotations

import torch
from torch import Tensor

from lm_eval_steer.interventions.operators.add_keep_norm import add_keep_norm
from lm_eval_steer.interventions.operators.operator import Operator, is_not_zero


def icv(hidden: Tensor, strength: Tensor, direction: Tensor) -> Tensor:
    """`add_keep_norm` at strength α·(1 + max(0, -cos)), cos the cosine between h and v: up to twice α.

    Liu et al. 2023 (arXiv 2311.06668), whose λ is α as a share of ‖h‖.
    """
    dtype = torch.promote_types(hidden.dtype, torch.float32)
    before, v = hidden.to(dtype), direction.to(dtype)
    lengths = (before.norm(dim=-1, keepdim=True) * v.norm(dim=-1, keepdim=True)).clamp_min(torch.finfo(dtype).tiny)
    cosine = (before * v).sum(dim=-1, keepdim=True) / lengths
    return add_keep_norm(hidden, strength.to(dtype) * (1 + (-cosine).clamp_min(0)), direction)


ICV = Operator(icv, is_not_zero, is_shift=False)
