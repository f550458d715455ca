"""Runs of the self-check in which nothing is steered: what blocks give is kept, and moved where that is asked for.

A block of vLLM that gives two tensors may mean their sum, or the first alone, beside a second that nothing reads any
more (Cohere, Exaone4 and others in 0.32). Which it is shows in what the model makes of them (engines/vllm/states.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

MOVES = ("nothing", "second", "across")
"""What a trial does to the two tensors of a block: nothing, move the second, or move the second and take the same from
the first, which leaves their sum as it is."""


class Trial:
    """One run.

    Args:
        move: one of `MOVES`.
        blocks: where.
        keep: blocks whose state is kept.
        stale: blocks whose second tensor is none of the state.

    Attributes:
        pairs: blocks that gave two tensors.
        odd: block -> what it gave, where that is no row of hidden states.
        states: block -> its state [tokens, hidden], float32.
        final: what the model made of all [tokens, hidden], float32; None where a later pipeline stage does that.
    """

    def __init__(self, move: str, blocks: Sequence[int], keep: Sequence[int], stale: set[int]) -> None:
        assert move in MOVES
        self._move, self._blocks, self._keep, self._stale = move, set(blocks), set(keep), stale
        self.pairs: list[int] = []
        self.odd: dict[int, str] = {}
        self.states: dict[int, Tensor] = {}
        self.final: Tensor | None = None

    def at(self, block: int, output: Any, tokens: int) -> tuple[Tensor, Tensor] | None:
        """Look at a block's output; gives the two tensors that take the place of its own, or None for those."""
        hidden, residual = parts(output)
        if not isinstance(hidden, Tensor) or hidden.dim() < 2 or hidden.shape[:-1].numel() != tokens:
            self.odd[block] = str(list(hidden.shape)) if isinstance(hidden, Tensor) else f"a {type(hidden).__name__}"
            return None
        if residual is not None:
            self.pairs.append(block)
        if block in self._keep:
            whole = hidden.float() if residual is None or block in self._stale else hidden.float() + residual.float()
            self.states[block] = whole.reshape(-1, whole.shape[-1]).clone()
        if residual is None or block not in self._blocks or self._move == "nothing":
            return None
        signs = torch.randint(2, hidden.shape[-1:], generator=torch.Generator().manual_seed(block)) * 2 - 1
        size = (hidden.float() ** 2 + residual.float() ** 2).mean(-1, keepdim=True).sqrt()
        step = (size * signs.to(size.device)).to(hidden.dtype)
        return (hidden - step if self._move == "across" else hidden), residual + step

    def end(self, output: Any) -> None:
        """Keep what the model gives."""
        final = output[0] if isinstance(output, tuple) else output
        if isinstance(final, Tensor):
            self.final = final.float().reshape(-1, final.shape[-1])

    def report(self, tokens: int) -> dict[str, Any]:
        """What was seen, of the first `tokens` tokens, as plain values and bytes, which vLLM's transport takes."""
        states = {block: pack(state[:tokens]) for block, state in self.states.items()}
        final = b"" if self.final is None else pack(self.final[:tokens])
        return {"pairs": sorted(set(self.pairs)), "odd": self.odd, "states": states, "final": final}


def pack(values: Tensor) -> bytes:
    """Numbers as bytes."""
    return values.cpu().contiguous().numpy().tobytes()


def parts(output: Any) -> tuple[Any, Tensor | None]:
    """A block's output as its first tensor, and a second of its shape where there is one."""
    if not isinstance(output, tuple) or not output:
        return output, None
    second = output[1] if len(output) > 1 else None
    fits = isinstance(second, Tensor) and isinstance(output[0], Tensor) and second.shape == output[0].shape
    return output[0], second if fits else None
