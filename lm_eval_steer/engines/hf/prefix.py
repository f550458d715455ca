"""What many prompts begin with (system prompt, shots) is run once per intervention; its KV cache is copied to rows.

transformers' own cache classes do the work. A copy may be shared only between rows of interventions that do the same to
the beginning, since steering changes keys and values.
"""

from __future__ import annotations

import copy
import inspect
import logging
from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.cache_utils import Cache, DynamicCache

from lm_eval_steer.engines.hf.cache import filled_layers, keep_rows, make_roomy

logger = logging.getLogger(f"lm_eval.{__name__}")  # lm_eval shows what the children of its own logger say

WORTHWHILE = 16
"""Shorter common beginnings are run with each row: copying a cache costs more."""
_WINDOWS = ("sliding_window", "window_size", "attention_window_size", "attention_chunk_size")
"""How configurations call the positions that a window of attention spans."""

RunPrefix = Callable[[Sequence[int], Sequence[Any]], Cache | None]
"""Gives the KV cache of a beginning (`run_prefix`), one row per name that is asked for; None where the model cannot
share one."""


class _Kept(NamedTuple):
    """A cache, None where the model can share none, and the bytes that it takes, which are counted once."""

    cache: Cache | None
    size: int


def shared_length(sequences: Sequence[Sequence[int]], own: int = 1) -> int:
    """How many tokens all sequences begin with, each keeping `own` tokens at least."""
    first, last = min(sequences, key=list), max(sequences, key=list)
    same = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
    return max(0, min(same, *(len(tokens) - own for tokens in sequences)))


class Prefixes:
    """The shared beginnings of a run's prompts, each run once per name, when a batch first needs it.

    A name stands for whatever is done to a beginning; rows of one name share a cache.

    Prompts that agree in their first tokens (those of one task) share a beginning; a run of several tasks has several.

    Args:
        limit: given the bytes that the caches take, says how many they may take. Those that no batch has used for
            longest are let go first, and run again where they are needed; those of the batch under way stay.
    """

    def __init__(self, limit: Callable[[int], int]) -> None:
        self._tokens: dict[tuple[int, ...], list[int]] = {}
        self._caches: dict[tuple[tuple[int, ...], Hashable], _Kept] = {}  # the last used at the end
        self._limit = limit
        self._own = 1
        self._told = False

    def learn(self, prompts: Iterable[list[int]], own: int = 1) -> None:
        """Find the beginnings that the prompts of the run to come share.

        One of the run before stays, with its caches, if these prompts begin with it and share little more (the waves of
        a vote are runs with ever fewer prompts); the others are forgotten.

        Args:
            prompts: token ids of each.
            own: how many tokens at its end each keeps to itself, as what is done to them may depend on the end.
        """
        self._own = own
        groups: dict[tuple[int, ...], list[list[int]]] = {}
        for tokens in prompts:
            groups.setdefault(tuple(tokens[:WORTHWHILE]), []).append(tokens)
        known, self._tokens = self._tokens, {}
        for key, group in groups.items():
            length = shared_length(group, own) if len(group) > 1 else 0
            old = known.get(key)
            stays = (
                old
                and 2 * len(old) >= length
                and all(len(row) >= len(old) + own and row[: len(old)] == old for row in group)
            )
            if old and stays:
                self._tokens[key] = old
            elif length >= WORTHWHILE:
                self._tokens[key] = group[0][:length]
        kept = {key for key, tokens in self._tokens.items() if tokens is known.get(key)}
        self._caches = {key: cache for key, cache in self._caches.items() if key[0] in kept}

    def family(self, tokens: Sequence[int]) -> tuple[int, ...]:
        """Which of the learnt beginnings a prompt may share; empty for none. Batches of one family can share it."""
        key = tuple(tokens[:WORTHWHILE])
        return key if key in self._tokens else ()

    def length(self, family: tuple[int, ...]) -> int:
        """How many tokens a learnt beginning has."""
        return len(self._tokens[family])

    def room(self) -> int:
        """Bytes that the caches may take."""
        return self._limit(sum(kept.size for kept in self._caches.values()))

    def prepare(
        self, model: PreTrainedModel, rows: Sequence[list[int]], names: Sequence[Hashable], run: RunPrefix
    ) -> tuple[int, dict[str, Cache]]:
        """What a batch need not run.

        Args:
            model: whose forward or `generate` will run the rest.
            rows: token ids of the batch, without padding.
            names: of each row.
            run: is called for what no cache holds yet. It is not kept: an engine that it belongs to would be held, with
                its caches, until Python next looks for cycles.

        Returns:
            shared: how many tokens at the beginning of every row are in the cache; 0 when nothing was learnt that all
                rows begin with and that leaves each the tokens that it keeps to itself.
            cache: the keyword argument that hands a cache of `rows` rows to the model; empty when shared is 0.
        """
        key = tuple(rows[0][:WORTHWHILE])
        tokens = self._tokens.get(key)
        if tokens is None or any(len(row) < len(tokens) + self._own or row[: len(tokens)] != tokens for row in rows):
            return 0, {}
        missing = [name for name in dict.fromkeys(names) if (key, name) not in self._caches]
        if missing:
            together = run(tokens, missing)
            for row, name in enumerate(missing):
                cache = together and _select(together, torch.tensor([row]))
                self._caches[key, name] = _Kept(cache, _bytes(cache))
        for name in dict.fromkeys(names):
            self._caches[key, name] = self._caches.pop((key, name))
        if missing:
            self._let_go({(key, name) for name in names})
        caches = [self._caches[key, name].cache for name in names]
        found = [cache for cache in caches if cache is not None]
        if len(found) < len(caches):
            return 0, {}
        return len(tokens), cache_argument(model, _stack(found))

    def keep(self, names: Collection[Hashable]) -> None:
        """Let the caches of all other names go."""
        self._caches = {key: cache for key, cache in self._caches.items() if key[1] in names}

    def drop(self) -> None:
        """Let all caches go, where memory is short; they are run again where they are needed."""
        self._caches.clear()

    def _let_go(self, needed: set[tuple[tuple[int, ...], Hashable]]) -> None:
        """Forget caches until no more bytes are taken than may be, the longest unused first, `needed` never."""
        held = sum(kept.size for kept in self._caches.values())
        limit = self._limit(held)
        if held > limit and not self._told:
            self._told = True
            logger.info(
                "The beginnings of %d prompts and interventions take %.1f MiB, of which %.1f MiB may be kept: the "
                "longest unused are let go, and run again where they are needed",
                *(len(self._caches), held / 2**20, limit / 2**20),
            )
        for key, kept in list(self._caches.items()):
            if held <= limit:
                return
            if key not in needed:
                del self._caches[key]
                held -= kept.size


def _bytes(cache: Cache | None) -> int:
    """What the keys and values of a cache take."""
    return 0 if cache is None else sum(layer.keys.nbytes + layer.values.nbytes for layer in filled_layers(cache))


def _select(cache: Cache, rows: Tensor) -> Cache:
    """Some rows of a cache, as a cache of their own; the tensors of the original stay as they are."""
    selected = _shallow(cache)
    keep_rows(selected, rows)
    return selected


def _stack(caches: Sequence[Cache]) -> Cache:
    """The rows of caches of equal length as one cache."""
    stacked = _shallow(caches[0])
    for layer, *others in zip(*map(filled_layers, (stacked, *caches)), strict=True):
        layer.keys = torch.cat([other.keys for other in others])
        layer.values = torch.cat([other.values for other in others])
    return make_roomy(stacked)


def _shallow(cache: Cache) -> Cache:
    """A cache whose layers may be changed while their tensors are shared with the original."""
    copied = copy.copy(cache)
    copied.layers = [copy.copy(layer) for layer in cache.layers]
    return copied


def cache_argument(model: PreTrainedModel, cache: Cache) -> dict[str, Cache]:
    """The cache under the name that this transformers gives it (`cache` from 5.20 on)."""
    name = "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"
    return {name: cache}


def holds_only_keys_and_values(model: PreTrainedModel) -> bool:
    """False for a model that keeps other state (linear attention, recurrence)."""
    kinds = getattr(model.config.get_text_config(), "layer_types", None) or ()
    if not set(kinds) <= {"full_attention", "sliding_attention"}:
        return False
    try:
        DynamicCache(config=model.config).get_seq_length()
    except ValueError:  # none of its layers has keys
        return False
    return bool({"cache", "past_key_values"} & set(inspect.signature(model.forward).parameters))


def run_prefix(model: PreTrainedModel, tokens: Sequence[int], rows: int, device: torch.device) -> Cache | None:
    """The KV cache of `tokens` in `rows` rows; None for a model that keeps other state."""
    if not holds_only_keys_and_values(model):
        return None
    cache = DynamicCache(config=model.config)
    ids = torch.tensor([list(tokens)] * rows, device=device)
    model(input_ids=ids, use_cache=True, **cache_argument(model, cache))
    return cache if cache.get_seq_length() == len(tokens) else None


def takes_positions(model: PreTrainedModel) -> bool:
    """Whether positions are given to the model, not counted in its cache (ALiBi)."""
    alibi = getattr(model.config.get_text_config(), "alibi", False)
    return "position_ids" in inspect.signature(model.forward).parameters and not alibi


def can_share(model: PreTrainedModel, width: int) -> bool:
    """Whether rows of different length may follow a shared beginning, with their padding behind it.

    Positions must be given to the model, which must keep nothing but keys and values, and no window of attention, which
    is counted in the cache, may be shorter than `width`, the length of prompt and answer.
    """
    config = model.config.get_text_config()
    windows = (getattr(config, name, None) for name in _WINDOWS)
    fits = all(width <= window for window in windows if window is not None)
    return takes_positions(model) and holds_only_keys_and_values(model) and fits


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
