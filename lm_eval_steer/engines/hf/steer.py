"""`steer`: a transformers model under a steering vector for the length of a `with` block, without the harness."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lm_eval_steer.engines.hf.blocks import base_model, find_blocks, hidden_size, identity_of
from lm_eval_steer.engines.hf.hooks import Steerer
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.argument import Argument, declare
from lm_eval_steer.interventions.arguments import ARGUMENTS
from lm_eval_steer.interventions.intervention import Intervention
from lm_eval_steer.interventions.plan import SteeringPlan
from lm_eval_steer.interventions.tokens import TokenRule, token_rule
from lm_eval_steer.vectors.several import AnyVector

TAKEN = tuple(
    one
    for one in ARGUMENTS
    if (one.changes == "response" and one.name not in ("vectors", "seed")) or one.name == "allow_other_child"
)
"""The plan's arguments that say how a request is steered; the others are about votes, records and the harness."""

_CACHES = ("cache", "past_key_values", "cache_params")
"""Names of a cache, by family and release of transformers."""


@contextmanager
@declare(TAKEN, before=("model", "vectors"))
def steer(model: nn.Module, vectors: str | Path | AnyVector, **arguments: Any) -> Iterator[Intervention]:
    """Steer whatever a model is asked inside a `with` block, with one strength; behind it, the model is as it was.

        with lm_eval_steer.steer(model, "phi4_gsm8k.safetensors", alpha=0.04):
            model.generate(**tokenizer(prompts, return_tensors="pt", padding=True))

    `model.generate` and plain calls are steered alike, alone or in batches. Padding never is: hand over the
    attention mask. The text of a call is a prompt, unless the call goes on with the text of the one before, from its
    cache or by giving it again with one token more; then what is new is generated. That is what `tokens` tells apart.

    Args:
        model: a transformers model, also under PEFT.
        vectors: a vector file, the name of a shipped one, or a vector.
        {arguments}

    Yields:
        What is done to the model.

    Raises:
        SteeringError: one sentence for a value that is not understood, and for a model that cannot be steered so.
        TypeError: for an argument that there is not.
    """
    plan, intervention = one_intervention(model, vectors, arguments, TAKEN, "steer")
    with attached(model, intervention, plan.blocks):
        yield intervention


@contextmanager
def attached(model: nn.Module, intervention: Intervention, blocks: str | None) -> Iterator[None]:
    """Steer whatever a model is asked, as `steer` does.

    Args:
        model: a transformers model, also under PEFT.
        intervention: what is done to it.
        blocks: path of the list of its blocks, where it cannot be found by shape.
    """
    if not intervention.acts:
        yield
        return
    steerer, texts = Steerer(model, [intervention], blocks), _Texts(model, token_rule(intervention.tokens))

    def before_pass(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        mask = texts.go_on({**inspect.signature(module.forward).bind_partial(*args).arguments, **kwargs})
        steerer.next_pass([0] * len(mask), mask)

    with steerer.attached() as stack:
        stack.callback(base_model(model).register_forward_pre_hook(before_pass, with_kwargs=True).remove)
        yield


def one_intervention(
    model: nn.Module,
    vectors: str | Path | AnyVector,
    given: Mapping[str, Any],
    taken: Sequence[Argument],
    name: str,
    digest: str | None = None,
) -> tuple[SteeringPlan, Intervention]:
    """The plan of one strength for a model that is there, and what it does to it.

    Args:
        model: a transformers model, also under PEFT.
        vectors: a vector file, the name of a shipped one, or a vector.
        given: arguments of the plan.
        taken: those that the caller takes.
        name: of the caller, for sentences.
        digest: of the model's weights, where it is known.

    Raises:
        SteeringError: one sentence for a value that is not understood, and for a model that cannot be steered so.
        TypeError: for an argument that the caller does not take.
    """
    plan = plan_of_one(vectors, given, taken, name)
    blocks = len(find_blocks(model, plan.blocks))
    child = plan.fit(blocks, hidden_size(model), replace(identity_of(model), digest=digest))
    (intervention,) = found = plan.interventions(blocks, child)
    plan.refuse_overflow(found, str(base_model(model).dtype).removeprefix("torch."))
    return plan, intervention


def plan_of_one(
    vectors: str | Path | AnyVector, given: Mapping[str, Any], taken: Sequence[Argument], name: str
) -> SteeringPlan:
    """The plan of one strength, for whatever model.

    Args:
        vectors: as for `one_intervention`, as are the others.

    Raises:
        SteeringError: one sentence for a value that is not understood, and for several strengths.
        TypeError: for an argument that the caller does not take.
    """
    names = [one.name for one in taken]
    if unknown := sorted(set(given) - set(names)):
        raise TypeError(f"{name} takes no {', '.join(unknown)}: use {', '.join(names)}")
    plan = SteeringPlan.build(vectors=vectors, **given)
    if len(plan.variants) > 1 or plan.samples:
        raise SteeringError(
            f"{name} takes one strength, and here are {len(plan.variants)}: take them one by one; votes over several "
            "are what lm_eval --model steered-hf is for"
        )
    return plan


class _Texts:
    """The texts that a model is under way with, from call to call.

    Args:
        model: whose calls are followed.
        rule: which positions are steered.
    """

    def __init__(self, model: nn.Module, rule: TokenRule) -> None:
        self._prefix = "decoder_" if base_model(model).config.is_encoder_decoder else ""
        self._rule = rule
        self._cache: Any = None
        self._run = 0  # positions up to which the call before came
        self._ids: Tensor | None = None  # of the prompts [rows, positions]
        self._prompt = torch.zeros(0, 1)  # tokens of each prompt, without padding [rows, 1]

    def go_on(self, call: Mapping[str, Any]) -> Tensor:
        """Which positions of a call are steered.

        Args:
            call: the arguments of the model's forward.

        Returns:
            bool [rows, positions].
        """
        ids, embedded = call.get(f"{self._prefix}input_ids"), call.get(f"{self._prefix}inputs_embeds")
        given = ids if ids is not None else embedded
        if given is None:
            raise SteeringError(f"the model is called without {self._prefix}input_ids, so that nothing can be steered")
        caches = [call[name] for name in _CACHES if call.get(name) is not None]
        cache = caches[0] if caches else None
        start = self._start(cache)
        real, before = _real(call.get(f"{self._prefix}attention_mask"), given, start)
        if not (start or (cache is None and self._repeats(ids))) or len(given) != len(self._prompt):
            self._prompt = before + real.sum(dim=1, keepdim=True)
            self._ids = None if start else ids
        self._cache, self._run = cache, start + given.shape[1]
        position = before + real.cumsum(dim=1) - 1  # of the text, without padding [rows, positions]
        return real & self._rule.chosen(position, self._prompt) & self._matching(given, ids)

    def _matching(self, given: Tensor, ids: Tensor | None) -> Tensor:
        """Which tokens of a call are those that the rule matches, bool [rows, positions]."""
        if self._rule.match is None:
            return torch.ones(given.shape[:2], dtype=torch.bool, device=given.device)
        if ids is None:
            raise SteeringError(
                f"tokens={self._rule.match.spelt} matches token ids, and the model is called with {self._prefix}"
                "inputs_embeds: hand over ids"
            )
        hits = [self._rule.match.automaton.hits(row) for row in ids.tolist()]
        return torch.from_numpy(np.stack(hits)).to(ids.device)

    def _start(self, cache: Any) -> int:
        """How many positions the cache of a call holds; one of states (Mamba) does not say."""
        held = 0
        with suppress(AttributeError, ValueError):
            held = int(cache.get_seq_length())
        return held or (self._run if cache is not None and cache is self._cache else 0)

    def _repeats(self, ids: Tensor | None) -> bool:
        """Whether a call gives the text of the call before again, with one token more."""
        if ids is None or self._ids is None or len(ids) != len(self._ids) or ids.shape[1] != self._run + 1:
            return False
        return torch.equal(ids[:, : self._ids.shape[1]], self._ids)


def _real(mask: Any, given: Tensor, start: int) -> tuple[Tensor, Tensor]:
    """Which positions of a call are no padding, bool [rows, positions], and how many such are behind it [rows, 1]."""
    rows, new = given.shape[:2]
    if mask is None:
        return given.new_ones(rows, new, dtype=torch.bool), given.new_full((rows, 1), start, dtype=torch.long)
    if not isinstance(mask, Tensor) or mask.dim() != 2 or mask.shape[1] < start + new:
        told = list(mask.shape) if isinstance(mask, Tensor) else type(mask).__name__
        raise SteeringError(
            f"the attention mask is {told}, and where padding is can be read off [rows, positions] with {start + new} "
            "positions only: leave the model's own kind of cache as it is, or give such a mask"
        )
    real = mask[:, start : start + new] != 0
    return real, (mask[:, :start] != 0).sum(dim=1, keepdim=True)
