"""Beginnings that prompts share: run once for all interventions that leave them alone, and once for each other."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Sequence

import torch
from transformers.cache_utils import Cache

from lm_eval_steer.engines.hf.blocks import decoder
from lm_eval_steer.engines.hf.hooks import Steerer
from lm_eval_steer.engines.hf.prefix import Prefixes, run_prefix
from lm_eval_steer.engines.hf.traits import Traits
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.tokens import scoring_mask


class Beginnings:
    """The shared beginnings of a run.

    Args:
        traits: of the model.
        steerer: whose interventions are loaded.
        prefixes: of the model; those of interventions that are loaded no more are let go.
        blocks: path of the list of blocks that the steerer was given.
    """

    def __init__(self, traits: Traits, steerer: Steerer, prefixes: Prefixes, blocks: str | None) -> None:
        self._traits, self._steerer, self.prefixes = traits, steerer, prefixes
        interventions = steerer.sites.interventions
        self._steers = [one.steers_beginnings for one in interventions]
        self._own = max(
            (rule.own for rule, one in zip(steerer.sites.rules, interventions, strict=True) if one.acts), default=1
        )
        # Those that leave beginnings alone share one cache.
        self._names: list[Hashable] = [
            (one.fingerprint, blocks) if steers else None
            for one, steers in zip(interventions, self._steers, strict=True)
        ]
        self._first: dict[Hashable, int] = {}
        for number, name in enumerate(self._names):
            self._first.setdefault(name, number)
        prefixes.keep(self._first)

    def learn(self, prompts: Iterable[list[int]]) -> None:
        """Find the beginnings that the prompts of the run to come share (Prefixes.learn)."""
        self.prefixes.learn(prompts, self._own)

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
            caches = sorted({self._first[self._names[numbers[row]]] for row in rows})
            most = self._kept(family) if family and len(caches) > 1 else len(caches)
            count = -(-len(caches) // most)
            part_of = {cache: place * count // len(caches) for place, cache in enumerate(caches)}
            for part in range(count):
                yield [row for row in rows if part_of[self._first[self._names[numbers[row]]]] == part]

    def _kept(self, family: tuple[int, ...]) -> int:
        """Of how many interventions the caches of a beginning are kept at once, one at least."""
        each = self.prefixes.length(family) * self._traits.bytes_per_position
        return max(1, int(self.prefixes.room() / each)) if each else len(self._names)

    def prepare(self, prompts: Sequence[list[int]], numbers: Sequence[int]) -> tuple[int, dict[str, Cache]]:
        """What a batch need not run (Prefixes.prepare), counted as steered for each of its rows.

        Args:
            prompts: token ids of each row.
            numbers: intervention of each row.
        """
        names = [self._names[number] for number in numbers]
        steered = [(number, prompt) for number, prompt in zip(numbers, prompts, strict=True) if self._steers[number]]
        shared, cache = self.prefixes.prepare(self._traits.child.base, prompts, names, self._run)
        if shared:
            counts = defaultdict[int, list[int]](list)
            for number, prompt in steered:
                counts[self._steerer.sites.rules[number].count(len(prompt), shared, prompt)].append(number)
            for count, those in counts.items():
                self._steerer.credit(those, count)
        return shared, cache

    @torch.no_grad()
    def _run(self, tokens: Sequence[int], names: Sequence[Hashable]) -> Cache | None:
        """The KV cache of a beginning, steered as its positions are in every prompt that begins so."""
        child, steerer = self._traits.child, self._steerer
        numbers = [self._first[name] for name in names]
        steers = [self._steers[number] for number in numbers]
        before = steerer.applied
        rules = [steerer.sites.rules[number] for number in numbers]
        whole = torch.full((len(rules),), len(tokens), device=child.device)
        mask = scoring_mask(rules, whole, whole, len(tokens), [tokens] * len(rules))
        with steerer.attached(), child.autocast():
            steerer.next_pass(numbers, mask & torch.tensor(steers, device=child.device)[:, None])
            cache = run_prefix(decoder(child.model), tokens, len(numbers), child.device)
        run = {block: count - before[block] for block, count in steerer.applied.items()}
        counts = [steers[row] * rule.count(len(tokens), len(tokens), tokens) for row, rule in enumerate(rules)]
        wanted = (steerer.sites.acts[numbers] * torch.tensor(counts)[:, None]).sum(dim=0).tolist()
        if cache is not None and list(run.values()) != wanted:
            raise SteeringError(f"a beginning of {len(tokens)} tokens was steered at other positions: {run}")
        steerer.forget(run)  # every use of the cache counts, so this one run of it does not
        return cache
