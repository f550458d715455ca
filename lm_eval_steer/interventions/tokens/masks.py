"""Token rules as masks of a forward pass; padding is never steered.

A batch may hold rows of several rules: `rules` has one per row, or one for all rows.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lm_eval_steer.interventions.tokens.rule import TokenRule

Texts = Sequence[Sequence[int]]
"""Token ids of each row up to the last position of a pass, without padding."""


def generation_mask(
    rules: Sequence[TokenRule], prompts: Tensor, start: int, new: int, texts: Texts | None = None
) -> Tensor:
    """Steered positions of one forward pass of `generate`.

    Args:
        rules: of each row, or one for all.
        prompts: attention mask of the prompts [rows, prompt positions], 0 at padding, which is on the left.
        start: how many positions are in the KV cache already.
        new: how many positions this pass runs.
        texts: of each row, where a rule matches tokens.

    Returns:
        bool [rows, new].
    """
    position = torch.arange(start, start + new, device=prompts.device)
    real = F.pad(prompts, (0, max(0, start + new - prompts.shape[1])), value=1)[:, start : start + new].bool()
    chosen = _chosen(rules, position, torch.full((len(prompts), 1), prompts.shape[1], device=prompts.device))
    return _matching(rules, real, texts) & chosen


def scoring_mask(
    rules: Sequence[TokenRule], context_lengths: Tensor, lengths: Tensor, width: int, texts: Texts | None = None
) -> Tensor:
    """Steered positions of one forward pass that scores continuations, rows padded on the right.

    Args:
        rules: of each row, or one for all.
        context_lengths: [rows], tokens of the context.
        lengths: [rows], tokens that are run: context and continuation without its last token.
        width: positions of the batch.
        texts: of each row, where a rule matches tokens.

    Returns:
        bool [rows, width].
    """
    position = torch.arange(width, device=lengths.device)
    chosen = _chosen(rules, position, context_lengths[:, None])
    return _matching(rules, position < lengths[:, None], texts) & chosen


def _matching(rules: Sequence[TokenRule], real: Tensor, texts: Texts | None) -> Tensor:
    """The positions of a pass that are no padding, and whose tokens match where a rule says what.

    Args:
        rules: of each row, or one for all.
        real: which positions are no padding: the last ones of each text, bool [rows, positions].
        texts: of each row.
    """
    its = list(rules) * len(real) if len(rules) == 1 else list(rules)
    if all(rule.match is None for rule in its):
        return real
    assert texts is not None
    hits = []
    for rule, text, count in zip(its, texts, real.sum(dim=1).tolist(), strict=True):
        found = np.ones(count, dtype=bool) if rule.match is None else rule.match.automaton.last_hits(text, count)
        hits.append(torch.from_numpy(found))
    return torch.zeros_like(real).masked_scatter_(real, torch.cat(hits).to(real.device))


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
