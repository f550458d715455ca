"""What many prompts begin with (system prompt, shots) is run once; its KV cache is copied to every row.

transformers' own cache classes do the work. A copy may be shared only between rows with the same vector, α, blocks and
positions, since steering changes keys and values.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.cache_utils import Cache, DynamicCache

WORTHWHILE = 16
"""Shorter common beginnings are run with each row: copying a cache costs more."""


def shared_length(sequences: Sequence[Sequence[int]]) -> int:
    """How many tokens all sequences begin with, each keeping one token at least of its own."""
    first, last = min(sequences, key=list), max(sequences, key=list)
    same = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
    return min(same, *(len(tokens) - 1 for tokens in sequences))


class Prefixes:
    """The shared beginnings of a run's prompts, each run once, when a batch first needs it.

    Prompts that agree in their first tokens (those of one task) share a beginning; a run of several tasks has several.

    Args:
        run: gives the KV cache of a beginning (`run_prefix`).
    """

    def __init__(self, run: Callable[[Sequence[int]], Cache | None]) -> None:
        self._run = run
        self._tokens: dict[tuple[int, ...], list[int]] = {}
        self._caches: dict[tuple[int, ...], Cache | None] = {}

    def learn(self, prompts: Iterable[list[int]]) -> None:
        """Find the beginnings that the prompts of the run to come share; forget those of the run before."""
        groups: dict[tuple[int, ...], list[list[int]]] = {}
        for tokens in prompts:
            groups.setdefault(tuple(tokens[:WORTHWHILE]), []).append(tokens)
        self._caches = {}
        self._tokens = {}
        for key, group in groups.items():
            length = shared_length(group) if len(group) > 1 else 0
            if length >= WORTHWHILE:
                self._tokens[key] = group[0][:length]

    def prepare(self, model: PreTrainedModel, rows: Sequence[list[int]]) -> tuple[int, dict[str, Cache]]:
        """What a batch need not run.

        Args:
            model: whose forward or `generate` will run the rest.
            rows: token ids of the batch, without padding.

        Returns:
            shared: how many tokens at the beginning of every row are in the cache; 0 when nothing was learnt that all
                rows begin with and that leaves each a token of its own.
            cache: the keyword argument that hands a cache of `rows` rows to the model; empty when shared is 0.
        """
        key = tuple(rows[0][:WORTHWHILE])
        tokens = self._tokens.get(key)
        if tokens is None or any(len(row) <= len(tokens) or row[: len(tokens)] != tokens for row in rows):
            return 0, {}
        if key not in self._caches:
            self._caches[key] = self._run(tokens)
        cache = self._caches[key]
        if cache is None:
            return 0, {}
        copied = copy.deepcopy(cache)
        copied.batch_repeat_interleave(len(rows))
        return len(tokens), cache_argument(model, copied)


def cache_argument(model: PreTrainedModel, cache: Cache) -> dict[str, Cache]:
    """The cache under the name that this transformers gives it (`cache` from 5.20 on)."""
    name = "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"
    return {name: cache}


def run_prefix(model: PreTrainedModel, tokens: Sequence[int], device: torch.device) -> Cache | None:
    """The KV cache [1 row] of `tokens`; None for a model that keeps state elsewhere (linear attention, recurrence)."""
    kinds = getattr(model.config.get_text_config(), "layer_types", None) or ()
    if not set(kinds) <= {"full_attention", "sliding_attention"}:
        return None
    cache = DynamicCache(config=model.config)
    ids = torch.tensor([list(tokens)], device=device)
    model(input_ids=ids, use_cache=True, **cache_argument(model, cache))
    return cache if cache.get_seq_length() == len(tokens) else None


def can_share(model: PreTrainedModel, width: int) -> bool:
    """Whether rows of different length may follow a shared beginning, with their padding behind it.

    Positions must be given to the model, not counted in the cache (ALiBi), and no window of attention, which is counted
    in the cache, may be shorter than `width`, the length of prompt and answer.
    """
    config = model.config.get_text_config()
    window = getattr(config, "sliding_window", None)
    takes_positions = "position_ids" in inspect.signature(model.forward).parameters
    return takes_positions and not getattr(config, "alibi", False) and (window is None or width <= window)


def move_padding(ids: Tensor, mask: Tensor, shared: int) -> tuple[Tensor, Tensor]:
    """Prompts padded on the left, with the padding moved behind their first `shared` tokens.

    Args:
        ids: [rows, positions].
        mask: attention mask [rows, positions], 0 at padding.
        shared: how many tokens all prompts begin with.

    Returns:
        ids and mask of the same shape.
    """
    padding = (mask == 0).sum(dim=1, keepdim=True)
    position = torch.arange(ids.shape[1], device=ids.device)
    # The first `shared` columns come from behind the padding, the padding fills the columns that they left.
    source = torch.where(position < shared, position + padding, position - shared)
    source = torch.where(position < shared + padding, source, position)
    return ids.gather(1, source), mask.gather(1, source)
