"""Beginnings that prompts share: run once for all interventions that leave them alone, and once for each other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial

import torch
from transformers.cache_utils import Cache

from lm_eval_steer.engines.hf.blocks import decoder
from lm_eval_steer.engines.hf.hooks import Steerer
from lm_eval_steer.engines.hf.memory import bytes_to_keep
from lm_eval_steer.engines.hf.prefix import Prefixes, run_prefix
from lm_eval_steer.engines.hf.traits import Traits
from lm_eval_steer.errors import SteeringError


class Beginnings:
    """The shared beginnings of a run.

    Args:
        traits: of the model.
        steerer: whose interventions are loaded.
    """

    def __init__(self, traits: Traits, steerer: Steerer) -> None:
        self._traits, self._steerer = traits, steerer
        self.prefixes = Prefixes(partial(bytes_to_keep, traits.child.device))
        interventions = steerer.sites.interventions
        self._steers = [one.steers_beginnings for one in interventions]
        leaving = [number for number, steers in enumerate(self._steers) if not steers]
        # Those that leave beginnings alone share the cache of the first of them.
        self._cache_of = [number if steers else leaving[0] for number, steers in enumerate(self._steers)]

    def learn(self, prompts: Iterable[list[int]]) -> None:
        """Find the beginnings that the prompts of the run to come share (Prefixes.learn)."""
        self.prefixes.learn(prompts)

    def parts(self, prompts: Sequence[list[int]], numbers: Sequence[int], order: Sequence[int]) -> Iterator[list[int]]:
        """Rows in their order, cut into parts that are run one after the other, in batches of their own.

        A part is of one beginning. Where memory does not keep the beginning's caches of all interventions, it is also
        of as many interventions as it keeps, so that no cache is let go and run again.

        Args:
            prompts: token ids of each row.
            numbers: intervention of each row.
            order: of the rows.
        """
        families: dict[tuple[int, ...], list[int]] = {}
        for row in order:
            families.setdefault(self.prefixes.family(prompts[row]), []).append(row)
        for family, rows in families.items():
            caches = sorted({self._cache_of[numbers[row]] for row in rows})
            most = self._kept(family) if family and len(caches) > 1 else len(caches)
            count = -(-len(caches) // most)
            part_of = {cache: place * count // len(caches) for place, cache in enumerate(caches)}
            for part in range(count):
                yield [row for row in rows if part_of[self._cache_of[numbers[row]]] == part]

    def _kept(self, family: tuple[int, ...]) -> int:
        """Of how many interventions the caches of a beginning are kept at once, one at least."""
        each = self.prefixes.length(family) * self._traits.bytes_per_position
        return max(1, int(self.prefixes.room() / each)) if each else len(self._cache_of)

    def prepare(self, prompts: Sequence[list[int]], numbers: Sequence[int]) -> tuple[int, dict[str, Cache]]:
        """What a batch need not run (Prefixes.prepare), counted as steered for each of its rows.

        Args:
            prompts: token ids of each row.
            numbers: intervention of each row.
        """
        caches = [self._cache_of[number] for number in numbers]
        shared, cache = self.prefixes.prepare(self._traits.child.base, prompts, caches, self._run)
        if shared:
            self._steerer.credit([number for number in numbers if self._steers[number]], shared)
        return shared, cache

    @torch.no_grad()
    def _run(self, tokens: Sequence[int], numbers: Sequence[int]) -> Cache | None:
        """The KV cache of a beginning, steered as its positions are in every prompt that begins so."""
        child, steerer = self._traits.child, self._steerer
        steers = [self._steers[number] for number in numbers]
        before = steerer.applied
        with steerer.attached(), child.autocast():
            steerer.next_pass(numbers, torch.tensor(steers, device=child.device)[:, None].expand(-1, len(tokens)))
            cache = run_prefix(decoder(child.model), tokens, len(numbers), child.device)
        run = {block: count - before[block] for block, count in steerer.applied.items()}
        ours = [number for number, its in zip(numbers, steers, strict=True) if its]
        wanted = (steerer.sites.acts[ours].sum(dim=0) * len(tokens)).tolist()
        if cache is not None and list(run.values()) != wanted:
            raise SteeringError(f"a beginning of {len(tokens)} tokens was steered at other positions: {run}")
        steerer.forget(run)  # every use of the cache counts, so this one run of it does not
        return cache
