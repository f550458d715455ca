"""A batch of prompts, continued by our own loop, which rows leave as they finish, or by that of transformers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicCache
from transformers.generation import LogitsProcessorList, StoppingCriteriaList

from lm_eval_steer.engines.hf.arguments import GenerationArguments, prepare
from lm_eval_steer.engines.hf.beginnings import Beginnings
from lm_eval_steer.engines.hf.cache import make_roomy
from lm_eval_steer.engines.hf.child import Child
from lm_eval_steer.engines.hf.decode import DecodeLoop, Generated, drawing
from lm_eval_steer.engines.hf.hooks import Steerer
from lm_eval_steer.engines.hf.prefix import cache_argument, move_padding
from lm_eval_steer.engines.hf.stops import StopBest, StopRows, Stops
from lm_eval_steer.engines.hf.traits import Traits
from lm_eval_steer.engines.protocol import Job, Visible
from lm_eval_steer.engines.visible import Cut
from lm_eval_steer.interventions.tokens import generation_mask


def write(
    traits: Traits,
    steerer: Steerer,
    beginnings: Beginnings,
    jobs: Sequence[Job],
    stops: Stops,
    asked: GenerationArguments,
    visible: Visible | None,
) -> Iterator[tuple[int, Generated]]:
    """Run a batch through our own loop.

    Args:
        traits: of the model.
        steerer: whose interventions the jobs name.
        beginnings: what prompts share.
        jobs: the rows.
        stops: what ends a text.
        asked: generation arguments.
        visible: limit of the visible part of each; None for none.

    Yields:
        number of a row that is done, and what it wrote.
    """
    child = traits.child
    ids, mask, common = _prepare(child, jobs, asked)
    prompts, numbers = [job.prompt for job in jobs], [job.intervention for job in jobs]
    cache: dict[str, Cache] = {}
    if traits.can_share(common["max_length"]):
        shared, cache = beginnings.prepare(prompts, numbers)
        ids, mask = move_padding(ids, mask, shared)
    if not cache:
        cache = cache_argument(child.base, make_roomy(DynamicCache(config=child.base.config)))
    rules = [steerer.sites.rules[number] for number in numbers]
    seeds = None if any(job.seed is None for job in jobs) else [job.seed or 0 for job in jobs]
    limits = [asked.limit(len(prompt)) for prompt in prompts]

    matches = any(rule.match for rule in rules)

    def step(there: list[int], rows: Tensor, waiting: Tensor, start: int, new: int, written: list[list[int]]) -> None:
        if steerer.acts:
            texts = [prompts[row] + tokens for row, tokens in zip(there, written, strict=True)] if matches else None
            steered = generation_mask([rules[row] for row in there], mask[rows], start, new, texts)
            steerer.next_pass([numbers[row] for row in there], steered & waiting[:, None])

    def is_stopped(row: int, tokens: list[int]) -> bool:
        return stops(prompts[row], tokens)

    cuts = [Cut(child.tokenizer, visible) for _ in jobs]

    def is_full(row: int, tokens: list[int]) -> bool:
        return cuts[row](tokens) is not None

    def alone(row: int) -> LogitsProcessorList:
        one = torch.tensor([prompts[row]], device=child.device)
        told = {"max_length": len(prompts[row]) + limits[row]} | asked.told
        return prepare(child, one, torch.ones_like(one), told).processors

    prepared = prepare(child, ids, mask, common | cache)
    loop = DecodeLoop(prepared, mask, limits, seeds, step, is_stopped, is_full, alone)
    while not loop.is_over:
        with torch.no_grad(), steerer.attached(), child.autocast():
            finished = loop.run_on()
        yield from finished


def leave_to_transformers(
    child: Child,
    steerer: Steerer,
    jobs: Sequence[Job],
    stops: Stops,
    asked: GenerationArguments,
    visible: Visible | None,
) -> Iterator[tuple[int, Generated]]:
    """Run a batch through the loop of transformers, as `write`; its rows run on until the last has finished."""
    ids, mask, common = _prepare(child, jobs, asked)
    ended = StopRows(stops, [job.prompt for job in jobs], ids.shape[1])
    criteria = StoppingCriteriaList([ended])
    if asked.beams > 1:  # as `hf` has it for one row: what the best beam wrote ends the search
        criteria = StoppingCriteriaList([StopBest(stops, ids.shape[1])])
        criteria += [asked.stop_strings] if asked.stop_strings else []
    steering = steerer.generating([job.intervention for job in jobs], mask)
    with steering, drawing(jobs[0].seed, child.device), child.autocast(), torch.no_grad():
        texts = child.model.generate(input_ids=ids, attention_mask=mask, stopping_criteria=criteria, **common)
    for row, tokens in enumerate(texts[:, ids.shape[1] :].tolist()):
        written = tokens[: ended.written.get(row)]
        end = next((place for place, token in enumerate(written) if token in asked.ends), len(written))
        written = written[: end + 1]  # behind it is padding
        yield row, Generated(written[: Cut(child.tokenizer, visible)(written)])


def _prepare(child: Child, jobs: Sequence[Job], asked: GenerationArguments) -> tuple[Tensor, Tensor, dict[str, Any]]:
    """Token ids and attention mask [rows, positions], padded on the left, and what `generate` is told."""
    filler = child.tokenizer.pad_token_id
    width = max(len(job.prompt) for job in jobs)
    gaps = [width - len(job.prompt) for job in jobs]
    ids = [[filler] * gap + job.prompt for gap, job in zip(gaps, jobs, strict=True)]
    mask = [[0] * gap + [1] * (width - gap) for gap in gaps]
    limit = max(asked.limit(len(job.prompt)) for job in jobs)
    told = {"max_length": width + limit, "pad_token_id": filler, "use_cache": True}
    return torch.tensor(ids, device=child.device), torch.tensor(mask, device=child.device), told | asked.told
