"""The decoding loop of a batch: finished rows leave it, and are told of at once.

transformers' `generate` prepares everything (logits processors, criteria, cache: arguments.py); the loop only runs the
model, which `step` steers, picks tokens and lets rows go.
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
from transformers.generation import LogitsProcessorList, MaxTimeCriteria

from lm_eval_steer.engines.doses import to_double
from lm_eval_steer.engines.hf.arguments import Prepared
from lm_eval_steer.engines.hf.cache import keep_rows
from lm_eval_steer.engines.hf.prefix import cache_argument
from lm_eval_steer.engines.hf.processors import RowProcessors
from lm_eval_steer.engines.protocol import Done, Job

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

    def done(self, job: Job) -> Done:
        """What came of the row's job."""
        return Done(job, self.tokens, logprob=self.logprob, stop=self.stop or None, seconds=self.seconds)


class DecodeLoop:
    """One batch.

    Args:
        prepared: what `generate` prepared for it.
        mask: attention mask of the prompts [rows, positions], 0 at padding.
        limits: how many tokens each row may write.
        seeds: of each row, where tokens are drawn; None for greedy. A row's draws depend on its seed alone.
        step: called before every pass with the rows still there, as numbers and as a tensor, their mask of unfinished
            ones [rows], the position that the pass begins with, how many it runs, and what each row has written.
        is_stopped: whether a row, by its number, is stopped by its new tokens.
        is_full: whether a row's new tokens reach the limit of their visible part; asked after each of them.
        alone: the logits processors of a row by itself.

    Attributes:
        is_over: whether all rows have finished.
    """

    def __init__(
        self,
        prepared: Prepared,
        mask: Tensor,
        limits: Sequence[int],
        seeds: Sequence[int] | None,
        step: Callable[[list[int], Tensor, Tensor, int, int, list[list[int]]], None],
        is_stopped: Callable[[int, list[int]], bool],
        is_full: Callable[[int, list[int]], bool],
        alone: Callable[[int], LogitsProcessorList],
    ) -> None:
        self._model, self._processors, self._cache = prepared.model, prepared.processors, prepared.cache
        self._ends = prepared.ends
        self._time = [criterion for criterion in prepared.criteria if isinstance(criterion, MaxTimeCriteria)]
        self._process = RowProcessors(prepared.processors, alone)
        self._rows = [Generated() for _ in range(len(mask))]
        self._ids, self._mask, self._limits = prepared.ids, mask.to(prepared.ids.device), limits
        self._there = torch.arange(len(mask), device=self._ids.device)
        self._numbers = self._there.tolist()
        self._waiting = torch.ones_like(self._there, dtype=torch.bool)
        self._draws = None
        if seeds is not None:
            self._draws = [np.random.default_rng(s).random(n) for s, n in zip(seeds, limits, strict=True)]
        self._step, self._is_stopped, self._is_full = step, is_stopped, is_full
        forward = inspect.signature(self._model.forward).parameters
        self._keywords: dict[str, Any] = {"use_cache": True} | cache_argument(self._model, prepared.cache)
        self._keywords |= {"logits_to_keep": 1} if "logits_to_keep" in forward else {}
        self._clock = perf_counter()
        self.is_over = False

    def run_on(self) -> list[tuple[int, Generated]]:
        """Run passes until rows have finished; gives their numbers and what they wrote."""
        self._clock = perf_counter()
        while True:
            finished = self._run_pass()
            if finished:
                return finished

    def _run_pass(self) -> list[tuple[int, Generated]]:
        ids, mask = self._ids, self._mask
        start, width = self._cache.get_seq_length(), ids.shape[1]
        written = [self._rows[row].tokens for row in self._numbers]
        self._step(self._numbers, self._there, self._waiting, start, width - start, written)
        logits = (
            self._model(
                input_ids=ids[:, start:],
                attention_mask=None if mask.all() else mask,
                position_ids=(mask.cumsum(dim=1) - 1).clamp_min(0)[:, start:],
                **self._keywords,
            )
            .logits[:, -1]
            .float()
        )
        scores = logits
        if self._processors:  # some change what they are given
            scores = self._process(self._numbers, ids, mask, logits.clone())
        tokens = self._pick(scores)
        logprobs = logits.gather(1, tokens[:, None])[:, 0] - logits.logsumexp(dim=-1)
        late = any(bool(criterion(ids, None).any()) for criterion in self._time)
        finished = self._take(tokens, logprobs, late)
        unfinished = [not self._rows[row].stop for row in self._numbers]
        self.is_over = not any(unfinished)
        if self.is_over:
            return finished
        self._ids = torch.cat([ids, tokens[:, None]], dim=1)
        self._mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
        if finished:
            self._waiting = torch.tensor(unfinished, device=ids.device)
        if unfinished.count(False) / len(unfinished) >= EMPTY_SHARE:
            kept = self._waiting.nonzero()[:, 0]
            self._there, self._ids, self._mask = self._there[kept], self._ids[kept], self._mask[kept]
            self._numbers, self._waiting = self._there.tolist(), self._waiting[kept]
            keep_rows(self._cache, kept)
        return finished

    def _pick(self, scores: Tensor) -> Tensor:
        """The next token of each row [rows]: the best, or the one that its draw falls on."""
        if self._draws is None:
            return scores.argmax(dim=-1)
        written = [(row, self._rows[row]) for row in self._numbers]
        drawn = [self._draws[row][len(one.tokens)] if not one.stop else 0.5 for row, one in written]
        share = to_double(scores.softmax(dim=-1)).cumsum(dim=-1)
        targets = torch.tensor(drawn, dtype=share.dtype, device=share.device)[:, None] * share[:, -1:]
        chosen = torch.searchsorted(share, targets, right=True)[:, 0].clamp_max(scores.shape[-1] - 1)
        return chosen.to(scores.device)

    def _take(self, tokens: Tensor, logprobs: Tensor, late: bool) -> list[tuple[int, Generated]]:
        """Give each row its token; the rows that have finished with it."""
        picked = list(zip(self._numbers, tokens.tolist(), logprobs.tolist(), strict=True))  # waits for the device
        before, self._clock = self._clock, perf_counter()
        share = (self._clock - before) / sum(not self._rows[row].stop for row in self._numbers)
        finished = []
        for row, token, logprob in picked:
            written = self._rows[row]
            if written.stop:
                continue
            written.seconds = (written.seconds or 0.0) + share
            written.tokens.append(token)
            written.logprob = (written.logprob or 0.0) + logprob
            full = self._is_full(row, written.tokens)
            if token in self._ends:
                written.stop = "eos"
            elif self._is_stopped(row, written.tokens):
                written.stop = "stop"
            elif full or late or len(written.tokens) >= self._limits[row]:
                written.stop = "length"
            if written.stop:
                finished.append((row, written))
        return finished


@contextmanager
def drawing(seed: int | None, device: torch.device) -> Iterator[None]:
    """Let what transformers' own loop draws for one row depend on its seed alone; None leaves it as it is."""
    if seed is None:
        yield
        return
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
