"""A layer of transformers' DynamicCache that makes room in advance, so that a new token does not copy all others."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer

ROOM = 64
"""Tokens for which room is made at a time."""


class RoomyLayer(DynamicLayer):
    """DynamicLayer whose `keys` and `values` [rows, heads, positions, width] are the filled part of larger tensors.

    A DynamicLayer concatenates at every step. That copies the whole cache for each new token: with 64 rows of a 5-shot
    prompt it takes longer than the attention.
    """

    def __init__(self) -> None:
        super().__init__()
        self._rooms: tuple[Tensor, Tensor] | None = None

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        start, end = self.get_seq_length(), self.get_seq_length() + key_states.shape[-2]
        if self._rooms is None or end > self._rooms[0].shape[-2]:
            self._rooms = (_with_room(key_states, end + ROOM), _with_room(value_states, end + ROOM))
            if start and self.keys is not None and self.values is not None:
                self._rooms[0][:, :, :start] = self.keys
                self._rooms[1][:, :, :start] = self.values
        keys, values = self._rooms
        keys[:, :, start:end], values[:, :, start:end] = key_states, value_states
        self.keys, self.values = keys[:, :, :end], values[:, :, :end]
        return self.keys, self.values

    def batch_select_indices(self, indices: Tensor) -> None:
        super().batch_select_indices(indices)
        self._rooms = None  # room is made again at the next token


def make_roomy(cache: Cache) -> Cache:
    """Let the layers of a cache that grow without bound have room; the others stay as they are."""
    for i, layer in enumerate(cache.layers):
        if type(layer) is DynamicLayer:
            roomy = RoomyLayer()
            if layer.keys is not None and layer.values is not None:
                roomy.update(layer.keys, layer.values)
            cache.layers[i] = roomy
    return cache


def filled_layers(cache: Cache) -> list[Any]:
    """The layers that hold anything: where keys are shared between layers, some never do."""
    return [layer for layer in cache.layers if getattr(layer, "keys", None) is not None]


def keep_rows(cache: Cache, rows: Tensor) -> None:
    """Let all rows but those of these numbers leave a cache, whose layers may live on several devices."""
    for layer in filled_layers(cache):
        layer.batch_select_indices(rows.to(layer.keys.device))


def _with_room(states: Tensor, positions: int) -> Tensor:
    return states.new_empty(*states.shape[:2], positions, states.shape[3])
