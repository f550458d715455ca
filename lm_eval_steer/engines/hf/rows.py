"""Requests × interventions as rows of one batch, run by transformers: the engine of `steered-hf`."""

from __future__ import annotations

import inspect
import logging
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import torch
import torch.nn.functional as F
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size
from lm_eval.models.huggingface import HFLM
from lm_eval.models.utils_hf import stop_sequences_criteria
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers.cache_utils import Cache, DynamicCache
from transformers.generation import LogitsProcessorList, StoppingCriteriaList

from lm_eval_steer.engines.application import Application
from lm_eval_steer.engines.hf.arguments import GenerationArguments, prepare, understand
from lm_eval_steer.engines.hf.blocks import base_model, decoder
from lm_eval_steer.engines.hf.cache import make_roomy
from lm_eval_steer.engines.hf.choices import (
    ScoredRow,
    Tree,
    is_plain,
    plant,
    tree_mask,
    tree_positions,
)
from lm_eval_steer.engines.hf.decode import DecodeLoop, Generated, drawing
from lm_eval_steer.engines.hf.hooks import Steerer
from lm_eval_steer.engines.hf.memory import bytes_to_keep, rows_that_fit
from lm_eval_steer.engines.hf.prefix import (
    Prefixes,
    cache_argument,
    can_share,
    move_padding,
    run_prefix,
    takes_positions,
)
from lm_eval_steer.engines.hf.probes import (
    continues_from_cache,
    follows_masks,
    heeds_padding,
    mixes_tokens,
    require_causal,
)
from lm_eval_steer.engines.hf.stops import StopRows, Stops
from lm_eval_steer.engines.measured import Measured
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.intervention import Intervention
from lm_eval_steer.interventions.tokens import TOKENS, generation_mask, scoring_mask

logger = logging.getLogger(f"lm_eval.{__name__}")


@dataclass(frozen=True)
class Row:
    """One prompt under one intervention, to be continued.

    Attributes:
        prompt: token ids.
        intervention: number of the intervention.
        seed: of its draws; None for greedy text.
    """

    prompt: list[int]
    intervention: int
    seed: int | None = None


Finish = Callable[[int, Generated], None]
"""Called with the number of a row that is done and what it wrote."""


class RowEngine:
    """Runs rows of one model under interventions that are loaded.

    Args:
        lm: the harness's model: transformers model, tokenizer, device.
    """

    def __init__(self, lm: HFLM) -> None:
        self._lm = lm
        self._told = set[str]()
        self.load(())

    def load(self, interventions: Sequence[Intervention], blocks: str | None = None) -> None:
        """Take these from now on, and count from nothing: all of them or, where one is refused, those before.

        Args:
            interventions: in the order of their numbers.
            blocks: where the blocks are, if they cannot be found by shape.

        Raises:
            SteeringError: where one does not fit the model, or the model is not causal.
        """
        steerer = None
        if any(one.acts for one in interventions):
            steerer = Steerer(self._lm.model, interventions, blocks)
            require_causal(base_model(self._lm.model), self._lm.device)
        self._steerer, self._interventions = steerer, tuple(interventions)
        self._prefixes = Prefixes(partial(bytes_to_keep, self._lm.device))
        self.application = Application(steerer)
        leaving = [number for number, one in enumerate(interventions) if not one.steers_beginnings]
        # Those that leave beginnings alone share the cache of the first of them.
        self._cache_of = {n: leaving[0] if n in leaving else n for n in range(len(interventions))}

    def measured(self) -> Measured:
        """What was measured since `load`."""
        return self.application.measured()

    # Generating

    def generate(
        self,
        rows: Sequence[Row],
        stop: list[str],
        new_tokens: int,
        arguments: Mapping[str, Any],
        batch_size: int | None,
        finish: Finish,
    ) -> None:
        """Continue every row as if it were alone.

        Args:
            rows: in any order; they are run longest first.
            stop: strings that end a text.
            new_tokens: limit of each row.
            arguments: further arguments of `generate`, as the harness's own model hands them over (arguments.py).
            batch_size: rows of one batch; None for as many as fit into memory. Halved where memory does not suffice.
            finish: called as rows get done.
        """
        if not rows:
            return
        asked = understand(self._lm, arguments, new_tokens, self._steerer is not None)
        stops = Stops(self._lm, stop, asked.stop_strings)
        order = sorted(range(len(rows)), key=lambda i: (-len(rows[i].prompt), rows[i].prompt, i))
        longest = max(len(row.prompt) + asked.limit(len(row.prompt)) for row in rows)
        self._prefixes.learn(row.prompt for row in rows)  # before memory is measured: it lets others go
        size = 1 if self._mixes_tokens else batch_size or rows_that_fit(self._lm, longest, read=1)
        reason = self._against_our_loop(asked)
        run_batch = self._leave_to_transformers if reason else self._loop
        if (
            reason
            and size > 1
            and (asked.is_for_one_row or not self._heeds_padding or any(row.seed is not None for row in rows))
        ):
            size = 1  # or a row would depend on the others of its batch
        if reason and reason not in self._told:
            self._told.add(reason)
            logger.info("Prompts are run whole, and a batch until its last row has finished: %s", reason)

        def run(batch: list[int], done: set[int]) -> None:
            def finish_one(position: int, generated: Generated) -> None:
                row = rows[batch[position]]
                positions = self.application.positions(row.intervention, len(row.prompt), len(generated.tokens))
                self.application.imply(row.intervention, positions)
                done.add(batch[position])
                finish(batch[position], generated)

            run_batch([rows[row] for row in batch], stops, asked, finish_one)

        self._run_in_batches(run, order, [self._prefixes.family(row.prompt) for row in rows], size)

    def _against_our_loop(self, asked: GenerationArguments) -> str:
        """Why rows are left to transformers' own loop; empty where ours runs them."""
        model = base_model(self._lm.model)
        if asked.beams > 1:
            return f"{{'num_beams': {asked.beams}}} makes several texts of a row"
        if asked.other_cache:
            return f"cache_implementation={asked.other_cache!r} is a cache that only transformers' own loop knows"
        if not self._mixes_tokens and not self._heeds_padding:
            return f"padding changes what {type(model).__name__} writes, so that each row is a batch of its own"
        if not takes_positions(model):
            return f"{type(model).__name__} counts positions itself"
        if not self._continues:
            return f"{type(model).__name__} keeps more than keys and values"
        return ""

    def _loop(self, rows: list[Row], stops: Stops, asked: GenerationArguments, finish: Finish) -> None:
        """Run a batch through our own loop, which rows leave as they finish."""
        lm, model = self._lm, base_model(self._lm.model)
        ids, mask, common = self._prepare(rows, asked)
        cache: dict[str, Cache] = {}
        prompts = [row.prompt for row in rows]
        if self._can_share(common["max_length"]):
            shared, cache = self._prefixes.prepare(model, prompts, self._cache_numbers(rows), self._run_prefix)
            ids, mask = move_padding(ids, mask, shared)
            self._credit(rows, shared)
        if not cache:
            cache = cache_argument(model, make_roomy(DynamicCache(config=model.config)))
        numbers = [row.intervention for row in rows]
        rules = [TOKENS[self._interventions[number].tokens] for number in numbers]
        seeds = None if any(row.seed is None for row in rows) else [row.seed or 0 for row in rows]
        limits = [asked.limit(len(prompt)) for prompt in prompts]

        def step(there: Tensor, waiting: Tensor, start: int, new: int) -> None:
            if self._steerer is not None:
                places = there.tolist()
                steered = generation_mask([rules[row] for row in places], mask[there], start, new)
                self._steerer.next_pass([numbers[row] for row in places], steered & waiting[:, None])

        def is_stopped(row: int, tokens: list[int]) -> bool:
            return stops(prompts[row], tokens)

        def alone(row: int) -> LogitsProcessorList:
            return prepare(lm, prompts[row], len(prompts[row]) + limits[row], asked.told).processors

        loop = DecodeLoop(mask, limits, seeds, step, is_stopped, finish, alone)
        with self._attached(), autocast(self._lm):
            lm.model.generate(input_ids=ids, attention_mask=mask, custom_generate=loop, **common, **cache)

    def _leave_to_transformers(self, rows: list[Row], stops: Stops, asked: GenerationArguments, finish: Finish) -> None:
        """Run a batch through the loop of transformers; its rows run on until the last has finished."""
        lm = self._lm
        ids, mask, common = self._prepare(rows, asked)
        ended = StopRows(stops, [row.prompt for row in rows], ids.shape[1])
        criteria = StoppingCriteriaList([ended])
        if asked.beams > 1:  # as `hf` has it for one row: what the best beam wrote ends the search
            criteria = stop_sequences_criteria(lm.tokenizer, stops.words, ids.shape[1], len(ids))
            criteria += [asked.stop_strings] if asked.stop_strings else []
        steering: Any = nullcontext()
        if self._steerer is not None:
            steering = self._steerer.generating([row.intervention for row in rows], mask)
        with steering, drawing(rows[0].seed, lm.device), autocast(self._lm), torch.no_grad():
            texts = lm.model.generate(input_ids=ids, attention_mask=mask, stopping_criteria=criteria, **common)
        self.application.not_compared = "the loop of transformers runs finished rows on"
        for row, tokens in enumerate(texts[:, ids.shape[1] :].tolist()):
            written = tokens[: ended.written.get(row)]
            end = next((place for place, token in enumerate(written) if token in asked.ends), len(written))
            finish(row, Generated(written[: end + 1]))  # behind it is padding

    def _prepare(self, rows: list[Row], asked: GenerationArguments) -> tuple[Tensor, Tensor, dict[str, Any]]:
        """Token ids and attention mask [rows, positions], padded on the left, and what `generate` is told."""
        filler = self._lm.tokenizer.pad_token_id
        ids, mask = _pad_left([row.prompt for row in rows], filler, self._lm.device)
        limit = max(asked.limit(len(row.prompt)) for row in rows)
        told = {"max_length": ids.shape[1] + limit, "pad_token_id": filler, "use_cache": True}
        return ids, mask, told | asked.told

    # Scoring

    def _takes_trees(self, width: int) -> bool:
        """Whether choices may share rows of `width` tokens: windows of attention count places, not positions."""
        return self._can_share(width) and self._follows_masks

    @cached_property
    def _follows_masks(self) -> bool:
        with autocast(self._lm):
            return follows_masks(base_model(self._lm.model), self._lm.device)

    @cached_property
    def _mixes_tokens(self) -> bool:
        with autocast(self._lm):
            mixes = mixes_tokens(base_model(self._lm.model), self._lm.device)
        if mixes:
            logger.info(
                "Each row is a batch of its own, and run whole: %s quantises the tokens of a pass together",
                type(base_model(self._lm.model)).__name__,
            )
        return mixes

    @cached_property
    def _heeds_padding(self) -> bool:
        with autocast(self._lm):
            return heeds_padding(base_model(self._lm.model), self._lm.device)

    def score(
        self, rows: Sequence[ScoredRow], batch_size: int | None, finish: Callable[[int, tuple[float, bool]], None]
    ) -> None:
        """Log-probability of every continuation, and whether greedy decoding would have written it.

        Args:
            rows: in any order; they are run longest first.
            batch_size: as for `generate`; the choices of a document are one row of a batch (choices.py).
            finish: called as rows get done.
        """
        if not rows:
            return
        limit = self._lm.max_length
        trees = plant(rows, limit, together=True)
        if not all(map(is_plain, trees)) and not self._takes_trees(max(len(tree.tokens) for tree in trees)):
            trees = plant(rows, limit, together=False)
        self._prefixes.learn(tree.context for tree in trees)  # the last context token predicts: it is run anew
        order = sorted(range(len(trees)), key=lambda i: (-len(trees[i].tokens), trees[i].context, i))
        size = (1 if self._mixes_tokens else batch_size) or rows_that_fit(
            self._lm, len(trees[order[0]].tokens), read=max(len(tree.tokens) - len(tree.context) + 1 for tree in trees)
        )

        def run(batch: list[int], done: set[int]) -> None:
            for number, logprobs in zip(batch, self._score_batch([trees[i] for i in batch]), strict=True):
                tree = trees[number]
                self._imply_choices(tree)
                done.add(number)
                for index, tail in tree.choices:
                    places = [place - len(tree.context) + 1 for place in tree.predicting(tail)]
                    finish(index, _read_score(logprobs[places], rows[index].continuation))

        self._run_in_batches(run, order, [self._prefixes.family(tree.context) for tree in trees], size)

    def _score_batch(self, batch: list[Tree]) -> Iterator[Tensor]:
        """Log-probabilities [tokens from the last one of the context on, vocabulary] of each row."""
        lm, device = self._lm, self._lm.device
        model = base_model(lm.model)
        shared, cache = 0, dict[str, Cache]()
        if self._can_share(0):
            heads = [tree.context for tree in batch]  # whose last token predicts, so that it cannot be shared
            shared, cache = self._prefixes.prepare(model, heads, self._cache_numbers(batch), self._run_prefix)
            self._credit(batch, shared)
        own = [torch.tensor(tree.tokens[shared:], device=device) for tree in batch]
        ids = pad_sequence(own, batch_first=True)
        width = shared + ids.shape[1]
        told: dict[str, Any] = {"input_ids": ids, "use_cache": bool(cache), **cache}
        # Padding is on the right, where a causal model does not look: as in HFLM there is no attention mask.
        if not all(map(is_plain, batch)):
            told["attention_mask"] = tree_mask(batch, shared, width, lm.model.dtype, device)
            told["position_ids"] = tree_positions(batch, shared, width, device)
        first = min(len(tree.context) for tree in batch) - 1
        if "logits_to_keep" in inspect.signature(model.forward).parameters and not self._mixes_tokens:
            told["logits_to_keep"] = width - first
        with torch.no_grad(), autocast(self._lm), self._attached():
            if self._steerer is not None:
                contexts = torch.tensor([len(tree.context) for tree in batch], device=device)
                lengths = torch.tensor([len(tree.tokens) for tree in batch], device=device)
                numbers = [tree.intervention for tree in batch]
                rules = [TOKENS[self._interventions[number].tokens] for number in numbers]
                self._steerer.next_pass(numbers, scoring_mask(rules, contexts, lengths, width)[:, shared:])
            logits = lm.model(**told).logits
        for tree, row in zip(batch, logits, strict=True):
            begin = len(tree.context) - 1 - width + len(row)
            yield F.log_softmax(row[begin : len(tree.tokens) - width + len(row)], dim=-1, dtype=lm.softmax_dtype)

    def _run_in_batches(
        self,
        run: Callable[[list[int], set[int]], None],
        order: Sequence[int],
        families: Sequence[tuple[int, ...]],
        batch_size: int,
    ) -> None:
        """Run rows in batches of one family of beginnings each; what memory does not hold is cut in two.

        Args:
            run: runs a batch, and notes the rows that are done.
            order: the rows.
            families: of each row.
            batch_size: the most rows of a batch.
        """
        groups: dict[tuple[int, ...], list[int]] = {}
        for row in order:
            groups.setdefault(families[row], []).append(row)
        work: deque[list[int]] = deque()
        for group in groups.values():
            count = -(-len(group) // batch_size)
            work += _cut(group, -(-len(group) // count))  # of like size: a small last one takes as long as the others
        while work:
            batch, done = work.popleft(), set[int]()
            try:
                run(batch, done)
            except RuntimeError as error:
                if not (isinstance(error, torch.OutOfMemoryError) or should_reduce_batch_size(error)):
                    raise
                if len(batch) == 1:
                    raise SteeringError(
                        "the device's memory does not hold a single row of this run: use a smaller dtype, or spread "
                        "the model with parallelize=True"
                    ) from None
                self._prefixes.drop()
                clear_device_cache()
                half = (len(batch) + 1) // 2
                logger.warning("Memory does not hold %d rows: going on with %d at a time", len(batch), half)
                rest = [row for row in batch if row not in done]
                work = deque(part for one in (rest, *work) for part in _cut(one, half))
                self.application.not_compared = "rows that memory did not hold were run again"

    # Steering

    def _imply_choices(self, tree: Tree) -> None:
        """Count what the choices of a row imply, and as steered what they spare by standing behind one context."""
        number, context = tree.intervention, len(tree.context)
        implied = sum(self.application.positions(number, context, len(tail) + 1) for _, tail in tree.choices)
        self.application.imply(number, implied)
        if self._steerer is not None:
            spared = implied - self.application.positions(number, context, len(tree.tokens) - context + 1)
            self._steerer.credit([number], spared)

    def _attached(self) -> Any:
        return nullcontext() if self._steerer is None else self._steerer.attached()

    # Shared beginnings

    def _can_share(self, width: int) -> bool:
        """Whether rows of `width` tokens may follow a shared beginning."""
        return can_share(base_model(self._lm.model), width) and self._continues and not self._mixes_tokens

    @cached_property
    def _continues(self) -> bool:
        with autocast(self._lm):
            return continues_from_cache(base_model(self._lm.model), self._lm.device)

    def _cache_numbers(self, rows: Sequence[Row] | Sequence[Tree]) -> list[int]:
        """Which rows share a cache: those of one intervention, and all whose beginnings are left alone."""
        return [self._cache_of[row.intervention] for row in rows]

    @torch.no_grad()
    def _run_prefix(self, tokens: Sequence[int], numbers: Sequence[int]) -> Cache | None:
        """The KV cache of a beginning, steered as its positions are in every prompt that begins so."""
        device = self._lm.device
        steers = [self._interventions[number].steers_beginnings for number in numbers]
        with self._attached(), autocast(self._lm):
            if self._steerer is not None:
                before = self._steerer.applied
                mask = torch.tensor(steers, device=device)[:, None].expand(-1, len(tokens))
                self._steerer.next_pass(numbers, mask)
            cache = run_prefix(decoder(self._lm.model), tokens, len(numbers), device)
        if self._steerer is not None:
            run = {block: count - before[block] for block, count in self._steerer.applied.items()}
            ours = [number for number, its in zip(numbers, steers, strict=True) if its]
            wanted = (self._steerer.sites.acts[ours].sum(dim=0) * len(tokens)).tolist()
            if cache is not None and list(run.values()) != wanted:
                raise SteeringError(f"a beginning of {len(tokens)} tokens was steered at other positions: {run}")
            self._steerer.forget(run)  # every use of the cache counts, so this one run of it does not
        return cache

    def _credit(self, rows: Sequence[Row] | Sequence[Tree], shared: int) -> None:
        """Count the steered positions of a beginning for every row that uses its cache."""
        if self._steerer is not None and shared:
            ours = [row.intervention for row in rows if self._interventions[row.intervention].steers_beginnings]
            self._steerer.credit(ours, shared)


def autocast(lm: HFLM) -> torch.autocast:
    """As HFLM runs its model under `mixed_precision_dtype`."""
    dtype = lm.mixed_precision_dtype
    return torch.autocast(device_type=lm.device.type, dtype=dtype, enabled=dtype is not None)


def _cut(rows: list[int], size: int) -> list[list[int]]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def _pad_left(rows: Sequence[list[int]], filler: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Token ids and attention mask [rows, positions], padded on the left."""
    width = max(map(len, rows))
    ids = torch.tensor([[filler] * (width - len(row)) + row for row in rows], device=device)
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows], device=device)
    return ids, mask


def _read_score(logprobs: Tensor, continuation: list[int]) -> tuple[float, bool]:
    """Sum of the continuation's log-probabilities, and whether greedy decoding would have written it."""
    tokens = torch.tensor(continuation, device=logprobs.device)
    greedy = bool((logprobs.argmax(dim=-1) == tokens).all())
    return float(logprobs.gather(1, tokens[:, None]).sum()), greedy
