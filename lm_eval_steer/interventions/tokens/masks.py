"""Token rules as masks of a forward pass; padding is never steered.

A batch may hold rows of several rules: `rules` has one per row, or one for all rows.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from lm_eval_steer.interventions.tokens.rule import TokenRule


def generation_mask(rules: Sequence[TokenRule], prompts: Tensor, start: int, new: int) -> Tensor:
    """Steered positions of one forward pass of `generate`.

    Args:
        rules: of each row, or one for all.
        prompts: attention mask of the prompts [rows, prompt positions], 0 at padding, which is on the left.
        start: how many positions are in the KV cache already.
        new: how many positions this pass runs.

    Returns:
        bool [rows, new].
    """
    position = torch.arange(start, start + new, device=prompts.device)
    real = F.pad(prompts, (0, max(0, start + new - prompts.shape[1])), value=1)[:, start : start + new].bool()
    return real & _chosen(rules, position, torch.full((len(prompts), 1), prompts.shape[1], device=prompts.device))


def scoring_mask(rules: Sequence[TokenRule], context_lengths: Tensor, lengths: Tensor, width: int) -> Tensor:
    """Steered positions of one forward pass that scores continuations, rows padded on the right.

    Args:
        rules: of each row, or one for all.
        context_lengths: [rows], tokens of the context.
        lengths: [rows], tokens that are run: context and continuation without its last token.
        width: positions of the batch.

    Returns:
        bool [rows, width].
    """
    position = torch.arange(width, device=lengths.device)
    return (position < lengths[:, None]) & _chosen(rules, position, context_lengths[:, None])


def _chosen(rules: Sequence[TokenRule], position: Tensor, prompt_lengths: Tensor) -> Tensor:
    """The rules without their padding: bool [rows, positions].

    Args:
        rules: of each row, or one for all.
        position: [positions].
        prompt_lengths: [rows, 1].
    """
    kinds = list(dict.fromkeys(rules))
    masks = [rule.chosen(position, prompt_lengths) for rule in kinds]
    if len(masks) == 1:
        return masks[0]
    of_row = torch.tensor([kinds.index(rule) for rule in rules], device=position.device)[:, None]
    chosen = torch.zeros(len(rules), len(position), dtype=torch.bool, device=position.device)
    for number, mask in enumerate(masks):
        chosen |= (of_row == number) & mask
    return chosen
