"""A row of tokens run by llama.cpp under a control vector; keys and values stay for a row that begins like it."""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import llama_cpp
import numpy as np

from lm_eval_steer.engines.llama_cpp.file import GgufFile
from lm_eval_steer.errors import SteeringError

_BATCH = 512
"""Positions that are run at once: llama.cpp's default, and the bound of the logits that are in memory."""


class Context:
    """Keys and values of one row, and what is added to blocks.

    Args:
        file: the model.
        positions: of the longest row.
        threads: that compute.

    Raises:
        SteeringError: where memory does not suffice.
    """

    def __init__(self, file: GgufFile, positions: int, threads: int) -> None:
        told = llama_cpp.llama_context_default_params()
        told.n_ctx, told.n_batch = positions, min(_BATCH, positions)
        told.n_threads = told.n_threads_batch = threads
        told.swa_full = True  # or a row could not go on from the middle of the one before
        self._handle = llama_cpp.llama_init_from_model(file.handle, told)
        if not self._handle:
            raise SteeringError(
                f"llama.cpp has no room for max_length={positions} positions: give a smaller max_length"
            )
        self._batch = llama_cpp.llama_batch_init(_BATCH, 0, 1)
        weakref.finalize(self, _free, self._handle, self._batch, file)
        self._memory = llama_cpp.llama_get_memory(self._handle)
        self._file, self._kept = file, list[int]()  # whose keys and values are there

    def steer(self, shifts: Mapping[int, np.ndarray]) -> None:
        """Add vectors to the outputs of blocks from now on, at every position, and none to others.

        Args:
            shifts: block, above 0 -> float32 [hidden].
        """
        self._forget()
        depth, width = self._file.depth, self._file.width
        table = np.zeros((depth - 1, width), dtype=np.float32)  # row N-1 is of block N
        for block, shift in shifts.items():
            table[block - 1] = shift
        data = table.ctypes.data_as(ctypes.POINTER(ctypes.c_float)) if shifts else None
        llama_cpp.llama_set_adapter_cvec(self._handle, data, table.size if shifts else 0, width, 1, depth - 1)

    def read(self, tokens: Sequence[int], first: int) -> Iterator[np.ndarray]:
        """Run a row.

        Args:
            tokens: of the row, as many as the context has positions at most.
            first: place of the token from which on is read what follows.

        Yields:
            logits behind each token from `first` on, float32 [vocabulary], which hold until the next is asked for.

        Raises:
            SteeringError: where llama.cpp fails.
        """
        start = self._keep(tokens, first)
        for begin in range(start, len(tokens), self._most):
            part = tokens[begin : begin + self._most]
            wanted = [place for place in range(len(part)) if begin + place >= first]
            self._run(part, begin, set(wanted))
            self._kept += part
            for place in wanted:
                row = llama_cpp.llama_get_logits_ith(self._handle, place)
                yield np.ctypeslib.as_array(row, (self._file.size,))

    @property
    def _most(self) -> int:
        return int(llama_cpp.llama_n_batch(self._handle))

    def _keep(self, tokens: Sequence[int], first: int) -> int:
        """Let keys and values go of what this row does not begin with; says of how many tokens they are there."""
        most = min(first, len(self._kept))
        same = next((place for place in range(most) if self._kept[place] != tokens[place]), most)
        if same < len(self._kept) and not llama_cpp.llama_memory_seq_rm(self._memory, 0, same, -1):
            same = 0  # a state that cannot be taken back, as that of Mamba
        if same == 0:
            self._forget()
        del self._kept[same:]
        return same

    def _forget(self) -> None:
        llama_cpp.llama_memory_clear(self._memory, True)
        self._kept = []

    def _run(self, tokens: Sequence[int], begin: int, wanted: set[int]) -> None:
        batch = self._batch
        batch.n_tokens = len(tokens)
        for place, token in enumerate(tokens):
            batch.token[place], batch.pos[place] = token, begin + place
            batch.n_seq_id[place], batch.seq_id[place][0] = 1, 0
            batch.logits[place] = place in wanted
        code = llama_cpp.llama_decode(self._handle, batch)
        if code:
            self._forget()
            raise SteeringError(
                f"llama.cpp could not run positions {begin} to {begin + len(tokens) - 1} of a text (code {code}): "
                "the results of this run are void; start it again with a smaller max_length"
            )


def _free(handle: Any, batch: Any, file: GgufFile) -> None:
    """Free a context, before the model that it belongs to, which is kept until then."""
    llama_cpp.llama_batch_free(batch)
    llama_cpp.llama_free(handle)
