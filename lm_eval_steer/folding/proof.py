"""The proof of a fold: what was written is read again, and gives the log-likelihoods of the steered child."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lm_eval_steer.engines.hf.blocks import text_config
from lm_eval_steer.engines.hf.hooks import Steerer
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.intervention import Intervention, intervene

TOLERANCE = 1e-4
"""Nats that the log-likelihood of a token may differ by, in float32."""

_TEXTS, _LENGTH = 4, 48


def log_likelihoods(model: nn.Module, intervention: Intervention | None = None, path: str | None = None) -> Tensor:
    """Log-likelihood of every token of a few random texts but the first [texts, tokens].

    Args:
        model: a causal model.
        intervention: what hooks do to it; None for nothing.
        path: of the blocks in the model, where `find_blocks` cannot tell.
    """
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(text_config(model).vocab_size, (_TEXTS, _LENGTH), generator=generator)
    ids = ids.to(next(model.parameters()).device)
    steerer = Steerer(model, [intervention or intervene([])], path)
    with torch.no_grad(), steerer.scoring([0] * _TEXTS, torch.ones_like(ids, dtype=torch.bool)):
        logits = model(input_ids=ids, use_cache=False).logits[:, :-1].float()
    return logits.log_softmax(dim=-1).gather(2, ids[:, 1:, None])[..., 0]


def prove(written: nn.Module, again: nn.Module, expected: Tensor, is_rounded: bool = False) -> float:
    """Compare what was read again with what was written and with the steered child.

    Args:
        written: the folded model.
        again: the same, read from its files in float32.
        expected: `log_likelihoods` of the steered child in float32.
        is_rounded: whether the weights are what is left of others in their dtype, so that they cannot be held to what
            those do; then that is told and not refused.

    Returns:
        The largest difference of a token's log-likelihood.

    Raises:
        SteeringError: where they are not the same.
    """
    there = dict(again.named_parameters())
    for name, parameter in written.named_parameters():
        if name not in there or not torch.equal(there[name].float(), parameter.float().to(there[name].device)):
            raise SteeringError(f"transformers does not read {name} as it was written: nothing is left of the fold")
    most = float((log_likelihoods(again) - expected).abs().max())
    if not (is_rounded or most <= TOLERANCE):
        raise SteeringError(
            f"the folded model's log-likelihood of a token differs by {most:.2g} from that of the steered child, more "
            f"than {TOLERANCE:g}: steer it in a run"
        )
    return most
