"""Which positions are steered: the table of the `tokens` argument, as masks.

| tokens    | generate_until                        | loglikelihood                                              |
|-----------|---------------------------------------|------------------------------------------------------------|
| all       | every prompt and generated position   | every context and continuation position                    |
| prompt    | prompt positions                      | context positions                                          |
| generated | last prompt position, generated ones  | last context position to the last but one continuation one |
| last      | last prompt position                  | last context position                                      |

Padding is never steered. loglikelihood_rolling has no prompt and takes `all` only.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def generation_mask(tokens: str, prompts: Tensor, start: int, new: int) -> Tensor:
    """Steered positions of one forward pass of `generate`.

    Args:
        tokens: a row of the table above.
        prompts: attention mask of the prompts [rows, prompt positions], 0 at padding, which is on the left.
        start: how many positions are in the KV cache already.
        new: how many positions this pass runs.

    Returns:
        bool [rows, new].
    """
    position = torch.arange(start, start + new, device=prompts.device)
    real = F.pad(prompts, (0, max(0, start + new - prompts.shape[1])), value=1)[:, start : start + new].bool()
    return real & _chosen(tokens, position, torch.tensor(prompts.shape[1], device=prompts.device))


def scoring_mask(tokens: str, context_lengths: Tensor, lengths: Tensor, width: int) -> Tensor:
    """Steered positions of one forward pass that scores continuations, rows padded on the right.

    Args:
        tokens: a row of the table above.
        context_lengths: [rows], tokens of the context.
        lengths: [rows], tokens that are run: context and continuation without its last token.
        width: positions of the batch.

    Returns:
        bool [rows, width].
    """
    position = torch.arange(width, device=lengths.device)
    return (position < lengths[:, None]) & _chosen(tokens, position, context_lengths[:, None])


def steered_interval(tokens: str, prompt_length: int) -> tuple[int, int | None]:
    """The table for one request: steered are the positions from the first number up to, not including, the second.

    Args:
        tokens: a row of the table above.
        prompt_length: tokens of the prompt, or of the context of a continuation.

    Returns:
        begin and end; None for an end that only the request's own one sets.
    """
    begin = prompt_length - 1 if tokens in ("generated", "last") else 0
    return begin, prompt_length if tokens in ("prompt", "last") else None


def _chosen(tokens: str, position: Tensor, prompt_length: Tensor) -> Tensor:
    """The table without its padding: `position` [positions] against the length of the prompt, broadcast."""
    if tokens == "prompt":
        return position < prompt_length
    if tokens == "generated":
        return position >= prompt_length - 1
    if tokens == "last":
        return position == prompt_length - 1
    return torch.ones_like(position, dtype=torch.bool)
