"""What a model does, seen on a few tokens: whatever its family is, an engine relies on nothing else.

Each probe compares logits that should be equal with logits that would differ, so that it holds in any dtype.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, PreTrainedModel

from lm_eval_steer.engines.hf.choices import ScoredRow, plant, tree_mask, tree_positions
from lm_eval_steer.engines.hf.prefix import cache_argument, run_prefix
from lm_eval_steer.errors import SteeringError

_NEAR = 0.1
"""Of what a difference would be, so much may be rounding."""
_LIMIT = 16
"""Tokens of the tree that is tried: any that it does not fill."""
_FAILURES = (RuntimeError, ValueError, TypeError, IndexError)
"""What a model raises that is asked for what it cannot do."""
_TEXT = (1, 2, 3, 4, 5)
_WRITTEN = 3
_FAR = 10
"""A token that is attended to changes a row so many times as much as one of another row that is quantised with it."""


@contextmanager
def _without_outliers(model: PreTrainedModel) -> Iterator[None]:
    """Let bitsandbytes quantise every token by itself (LLM.int8() does not, see `mixes_tokens`)."""
    states = _outlier_states(model)
    before = [state.threshold for state in states]
    try:
        for state in states:
            state.threshold = 0.0
        yield
    finally:
        for state, threshold in zip(states, before, strict=True):
            state.threshold = threshold


def _outlier_states(model: PreTrainedModel) -> list[Any]:
    states = (getattr(module, "state", None) for module in model.modules())
    return [state for state in states if getattr(state, "threshold", 0.0)]


@torch.no_grad()
def mixes_tokens(model: PreTrainedModel, device: torch.device) -> bool:
    """Whether all tokens of a pass, those of other rows too, have a say in how activations are quantised.

    A column that is large at any token is kept apart by bitsandbytes' int8, and one scale may be that of the whole pass
    (fp8 with a scale per tensor). Then a text is what it is alone only in a batch of its own, run whole.
    """
    return bool(_outlier_states(model)) or _beside(model, device) > _noise(model, device)


def _beside(model: PreTrainedModel, device: torch.device) -> float:
    """How much the logits of a row change with the last token of another."""
    return float(_apart(model, device, [[*_TEXT, 6], [*_TEXT, 6]], [[*_TEXT, 6], [*_TEXT, 7]]).max())


def _noise(model: PreTrainedModel, device: torch.device) -> float:
    """What rounding may change in logits, measured by what a token changes in its own."""
    apart = _apart(model, device, [[*_TEXT, 6]], [[*_TEXT, 7]])
    return float(torch.finfo(apart.dtype).eps ** 0.5 * apart[-1])


def _apart(model: PreTrainedModel, device: torch.device, rows: list[list[int]], others: list[list[int]]) -> Tensor:
    """By how much the logits of the first row differ between two batches [positions]."""
    one, other = (model(input_ids=torch.tensor(ids, device=device)).logits[0] for ids in (rows, others))
    return (one - other).abs().amax(dim=1)


@torch.no_grad()
def require_causal(model: PreTrainedModel, device: torch.device) -> None:
    """Refuse an encoder (BERT without `is_decoder`): there, a token has a say in what those before it give.

    Raises:
        SteeringError: names the model.
    """
    with _without_outliers(model):
        ahead = float(_apart(model, device, [[*_TEXT, 6]], [[*_TEXT, 7]])[:-1].max())
        looks = ahead > max(_noise(model, device), _FAR * _beside(model, device))
    if looks:
        raise SteeringError(
            f"{type(model).__name__} looks at the tokens to come, so that what is steered or read at one would change "
            "with those behind it: set is_decoder in its configuration, or take a causal model"
        )


def heeds_padding(model: PreTrainedModel, device: torch.device) -> bool:
    """Whether a row of a batch that is padded on the left is continued as it is alone.

    It is not where a state runs over the padding (RWKV, RecurrentGemma), where positions count it, or where the mask is
    read wrongly once there is a cache (MiniMax). transformers' own `generate` is asked, and made to write the same.
    """
    short, long = [*_TEXT], [6, 7, 8, *_TEXT]
    padding = [0] * (len(long) - len(short))
    inputs = [[padding + short, long], [short], [padding + short]]
    masks = [[[0] * len(padding) + [1] * len(short), [1] * len(long)]] + [[[1] * len(one[0])] for one in inputs[1:]]
    try:
        with _without_outliers(model):
            found, wanted, plain = (
                _write(model, torch.tensor(ids, device=device), torch.tensor(mask, device=device))
                for ids, mask in zip(inputs, masks, strict=True)
            )
    except _FAILURES:  # MiniMax's mask does not fit on CUDA
        return False
    return _same(found, wanted, plain)


def _write(model: PreTrainedModel, ids: Tensor, mask: Tensor) -> Tensor:
    """Logits [new tokens, vocabulary] of the first row, all rows being made to write the same tokens."""
    asked, model.generation_config = model.generation_config, GenerationConfig()  # a checkpoint's may search by beams
    try:
        out: Any = model.generate(  # type: ignore[operator]
            input_ids=ids,
            attention_mask=mask,
            max_new_tokens=_WRITTEN,
            do_sample=False,
            prefix_allowed_tokens_fn=lambda row, written: [_TEXT[(len(written) - ids.shape[1]) % len(_TEXT)]],
            eos_token_id=0,  # which it never writes
            pad_token_id=0,
            output_logits=True,
            return_dict_in_generate=True,
        )
    finally:
        model.generation_config = asked
    return torch.stack([logits[0].float() for logits in out.logits])


@torch.no_grad()
def continues_from_cache(model: PreTrainedModel, device: torch.device) -> bool:
    """Whether a text goes on from a cache of its beginning as if it were run whole, after the model ran another one.

    It does not where the model keeps more than keys and values, in the cache (linear attention) or in itself
    (RecurrentGemma, which in transformers 5.17 to 5.19 takes a cache of keys and values nevertheless).
    """
    beginning, rest = _TEXT[:3], torch.tensor([_TEXT[3:]], device=device)
    try:
        with _without_outliers(model):
            cache = run_prefix(model, beginning, 1, device)
            if cache is None:
                return False
            whole, plain = (model(input_ids=ids)[0] for ids in (torch.tensor([_TEXT], device=device), rest))
            found = model(input_ids=rest, use_cache=True, **cache_argument(model, cache))[0]
    except _FAILURES:
        return False
    return _same(found, whole[:, len(beginning) :], plain)


@torch.no_grad()
def follows_masks(model: PreTrainedModel, device: torch.device) -> bool:
    """Whether attention follows a mask of our own, which a small tree shows.

    Fused kernels know only causal masks, and code from the hub may read a mask of four dimensions in its own way.
    """
    if model.config.get_text_config()._attn_implementation not in ("eager", "sdpa"):
        return False
    context, tail = [1, 2, 3, 4], (2, 3)
    (tree,) = plant([ScoredRow(context, [3, 4, 1], 0), ScoredRow(context, [*tail, 1], 0)], _LIMIT, together=True)
    ids, alone = (torch.tensor([row], device=device) for row in (tree.tokens, [*context, *tail]))
    wide = len(tree.tokens)
    told = {
        "attention_mask": tree_mask([tree], 0, wide, model.dtype, device),
        "position_ids": tree_positions([tree], 0, wide, device),
    }
    try:
        found = model(input_ids=ids, **told).logits
    except _FAILURES:
        return False
    places = tree.predicting(tail)[1:]
    wanted, plain = model(input_ids=alone).logits[0, -len(tail) :], model(input_ids=ids).logits[0, places]
    return _same(found[0, places], wanted, plain)


def _same(found: Tensor, wanted: Tensor, plain: Tensor) -> bool:
    """Whether logits are the wanted ones, measured by the plain ones, of which a mask was not told."""
    return bool((found - wanted).abs().max() <= _NEAR * (plain - wanted).abs().max())
