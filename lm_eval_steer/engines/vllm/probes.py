"""What the self-check sees of a place while it is steered, held against the operators in float64."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lm_eval_steer.engines.vllm.anchors import Pair
from lm_eval_steer.engines.vllm.turns import Tokens, Turn


@dataclass
class Probe:
    """What was seen in one pass.

    Attributes:
        norm: mean ‖h‖ over the tokens, before steering; of heads, over each of them.
        shift: largest |Δ| of the tokens that are steered.
        error: largest deviation from what the operator says, in rounding steps of the dtype.
        untouched: whether the tokens that are not steered left as they came, bit for bit.
        passed_on: whether the next block received what was given; None where it is not on this rank, or no block gave.
    """

    norm: float
    shift: float
    error: float
    untouched: bool
    passed_on: bool | None = None


def probe(
    turn: Turn,
    before: Pair,
    after: Pair,
    length: Tensor,
    steered: Tensor,
    tokens: Tokens,
    scale: float,
) -> Probe:
    """Compare what is done with the operators in float64.

    Args:
        turn: what happens there.
        before, after: the summands of what is there, as they came and as they leave.
        length, steered, tokens, scale: as for `Turn.apply`.
    """
    came, got = (scale * (one.double() + (0 if other is None else other.double())) for one, other in (before, after))
    wanted = turn.in_doubles(came, length, steered, tokens)
    sizes = (scale * before[0].double(), scale * after[0].double(), wanted - came)
    size = torch.stack([value.abs() for value in sizes]).amax(0)
    if turn.shifts is not True:  # an inner product takes in the rounding of all components
        size = torch.maximum(size, came.square().mean(dim=-1, keepdim=True).sqrt())
    step = torch.finfo(before[0].dtype).eps * size + torch.finfo(torch.float32).tiny
    rows = ~steered.reshape(len(steered))
    same = all(
        torch.equal(one[rows], other[rows])
        for one, other in zip(before, after, strict=True)
        if one is not None and other is not None
    )
    moved = (got - came)[~rows]
    return Probe(
        norm=float(came.norm(dim=-1).mean()),
        shift=float(moved.abs().max()) if len(moved) else 0.0,
        error=float(((got - wanted).abs() / step).max()),
        untouched=same,
    )
