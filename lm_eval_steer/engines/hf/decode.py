"""The decoding loop that transformers' `generate` is given (`custom_generate`): finished rows leave the batch.

`generate` prepares everything (generation config, logits processors, cache); the loop only runs the model, which
`step` steers, picks tokens and lets rows go.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import GenerationConfig, PreTrainedModel
from transformers.generation import LogitsProcessorList, MaxTimeCriteria, StoppingCriteriaList

from lm_eval_steer.engines.doses import to_double
from lm_eval_steer.engines.hf.cache import keep_rows
from lm_eval_steer.engines.hf.prefix import cache_argument
from lm_eval_steer.engines.hf.processors import RowProcessors

EMPTY_SHARE = 0.25
"""Rows leave the cache when so many of its rows have finished: each time it is copied."""


@dataclass
class Generated:
    """What one row wrote.

    Attributes:
        tokens: the new tokens, the last of which may end the text.
        logprob: sum of their log-probabilities under the steered model, before any logits processor; None where
            transformers' own loop ran.
        stop: `eos`, `stop` (a stop string) or `length` (of tokens or time); empty as long as the row runs, and where
            transformers' own loop ran.
        seconds: its share of the batch's time, in which each pass counts for the rows that it still ran for; None where
            transformers' own loop ran.
    """

    tokens: list[int] = field(default_factory=list)
    logprob: float | None = None
    stop: str = ""
    seconds: float | None = None


class DecodeLoop:
    """One batch.

    Args:
        mask: attention mask of the prompts [rows, positions], 0 at padding.
        limits: how many tokens each row may write.
        seeds: of each row, where tokens are drawn; None for greedy. A row's draws depend on its seed alone.
        step: called before every pass with the rows still there, their mask of unfinished ones [rows], the position
            that the pass begins with and how many it runs.
        is_stopped: whether a row, by its number, is stopped by its new tokens.
        finish: called with a row that is done.
        alone: the logits processors of a row by itself.
    """

    def __init__(
        self,
        mask: Tensor,
        limits: Sequence[int],
        seeds: Sequence[int] | None,
        step: Callable[[Tensor, Tensor, int, int], None],
        is_stopped: Callable[[int, list[int]], bool],
        finish: Callable[[int, Generated], None],
        alone: Callable[[int], LogitsProcessorList],
    ) -> None:
        self.rows = [Generated() for _ in range(len(mask))]
        self._mask, self._limits = mask, limits
        self._draws = None
        if seeds is not None:
            self._draws = [np.random.default_rng(s).random(n) for s, n in zip(seeds, limits, strict=True)]
        self._step, self._is_stopped, self._finish, self._alone = step, is_stopped, finish, alone
        self._clock = perf_counter()

    def __call__(
        self,
        model: PreTrainedModel,
        input_ids: Tensor,
        logits_processor: LogitsProcessorList,
        stopping_criteria: StoppingCriteriaList,
        generation_config: GenerationConfig,
        **model_kwargs: Any,
    ) -> Tensor:
        """Run the batch; what it gives is in `rows`."""
        cache = model_kwargs.get("cache", model_kwargs.get("past_key_values"))
        assert cache is not None, "generate prepares a cache where use_cache is set"
        ends = {int(t) for c in stopping_criteria if hasattr(c, "eos_token_id") for t in c.eos_token_id.flatten()}
        time = [criterion for criterion in stopping_criteria if isinstance(criterion, MaxTimeCriteria)]
        process = RowProcessors(logits_processor, self._alone)
        forward = inspect.signature(model.forward).parameters
        extra = {"logits_to_keep": 1} if "logits_to_keep" in forward else {}
        there = torch.arange(len(input_ids), device=input_ids.device)
        ids = input_ids
        mask = self._mask.to(ids.device)
        waiting = torch.ones_like(there, dtype=torch.bool)
        keywords = {"use_cache": True} | cache_argument(model, cache) | extra
        while True:
            start, width = cache.get_seq_length(), ids.shape[1]
            self._step(there, waiting, start, width - start)
            logits = (
                model(
                    input_ids=ids[:, start:],
                    attention_mask=None if mask.all() else mask,
                    position_ids=(mask.cumsum(dim=1) - 1).clamp_min(0)[:, start:],
                    **keywords,
                )
                .logits[:, -1]
                .float()
            )
            scores = logits
            if logits_processor:  # some change what they are given
                scores = process(there.tolist(), ids, mask, logits.clone())
            tokens = self._pick(scores, there)
            logprobs = logits.gather(1, tokens[:, None])[:, 0] - logits.logsumexp(dim=-1)
            late = any(bool(criterion(ids, None).any()) for criterion in time)
            self._take(there, tokens, logprobs, ends, late)
            waiting = torch.tensor([not self.rows[row].stop for row in there.tolist()], device=ids.device)
            if not waiting.any():
                return input_ids
            ids = torch.cat([ids, tokens[:, None]], dim=1)
            mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
            if (~waiting).float().mean() >= EMPTY_SHARE:
                kept = waiting.nonzero()[:, 0]
                there, ids, mask, waiting = there[kept], ids[kept], mask[kept], waiting[kept]
                keep_rows(cache, kept)

    def _pick(self, scores: Tensor, there: Tensor) -> Tensor:
        """The next token of each row [rows]: the best, or the one that its draw falls on."""
        if self._draws is None:
            return scores.argmax(dim=-1)
        written = [(row, self.rows[row]) for row in there.tolist()]
        drawn = [self._draws[row][len(one.tokens)] if not one.stop else 0.5 for row, one in written]
        share = to_double(scores.softmax(dim=-1)).cumsum(dim=-1)
        targets = torch.tensor(drawn, dtype=share.dtype, device=share.device)[:, None] * share[:, -1:]
        chosen = torch.searchsorted(share, targets, right=True)[:, 0].clamp_max(scores.shape[-1] - 1)
        return chosen.to(scores.device)

    def _take(self, there: Tensor, tokens: Tensor, logprobs: Tensor, ends: set[int], late: bool) -> None:
        picked = list(zip(there.tolist(), tokens.tolist(), logprobs.tolist(), strict=True))  # waits for the device
        before, self._clock = self._clock, perf_counter()
        share = (self._clock - before) / sum(not self.rows[row].stop for row, _, _ in picked)
        for row, token, logprob in picked:
            written = self.rows[row]
            if written.stop:
                continue
            written.seconds = (written.seconds or 0.0) + share
            written.tokens.append(token)
            written.logprob = (written.logprob or 0.0) + logprob
            if token in ends:
                written.stop = "eos"
            elif self._is_stopped(row, written.tokens):
                written.stop = "stop"
            elif late or len(written.tokens) >= self._limits[row]:
                written.stop = "length"
            if written.stop:
                self._finish(row, written)


@contextmanager
def drawing(seed: int | None, device: torch.device) -> Iterator[None]:
    """Let what transformers' own loop draws for one row depend on its seed alone; None leaves it as it is."""
    if seed is None:
        yield
        return
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
