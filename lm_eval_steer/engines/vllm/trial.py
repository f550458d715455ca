"""Runs of the self-check in which nothing is steered: what blocks give is kept, and moved where that is asked for.

A block of vLLM that gives two tensors may mean their sum, or the first alone, beside a second that nothing reads any
more (Cohere, Exaone4 and others in 0.32). Which it is shows in what the model makes of them (engines/vllm/states.py),
and in what attention and MLP add: a block's output is its input and that.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lm_eval_steer.engines.vllm.anchors import Anchor, Pair, block_input, block_output, contributions

MOVES = ("nothing", "second", "across")
"""What a trial does to the two tensors of a block: nothing, move the second, or move the second and take the same from
the first, which leaves their sum as it is."""
STEPS = 64
"""Of a sum so many rounding steps of the dtype may be missing, as shares of the state's length: a block's output is
rounded, and what is added to it may be small beside it."""


class Trial:
    """Some passes of one run. Hooks stay on the blocks until it is over.

    Args:
        layers: blocks by number, of those that this process holds.
        move: one of `MOVES`.
        blocks: where.
        keep: blocks whose state is kept.
        stale: blocks whose second tensor is none of the state.

    Attributes:
        pairs: blocks that gave two tensors.
        odd: block -> what it gave, where that is no row of hidden states.
        states: block -> its state [tokens, hidden], float32.
        sums: block -> how far its state is from the sum of its input and what was added, as a share of that.
        final: what the model made of all [tokens, hidden], float32; None where a later pipeline stage does that.
    """

    def __init__(
        self, layers: dict[int, nn.Module], move: str, blocks: Sequence[int], keep: Collection[int], stale: set[int]
    ) -> None:
        assert move in MOVES
        self._move, self._blocks, self._keep, self._stale = move, set(blocks), set(keep), stale
        self._tokens: int | None = None
        self._came: dict[int, list[Tensor]] = {}
        self.pairs: set[int] = set()
        self.odd: dict[int, str] = {}
        self.states: dict[int, Tensor] = {}
        self.sums: dict[int, float] = {}
        self.final: Tensor | None = None
        self._handles: list[Any] = []
        for block, layer in layers.items():
            attention, mlp = contributions(layer)
            if move == "nothing" and attention and mlp:
                for anchor in (block_input(layer), *attention, *mlp):
                    self._handles.append(anchor.hook(self._listen(block, anchor)))
            self._handles.append(block_output(layer).hook(self._look(block)))

    def begin(self, tokens: int) -> None:
        """A pass of so many tokens begins."""
        self._tokens = tokens

    def end(self, output: Any) -> None:
        """Keep what the model gives."""
        self._tokens = None
        self._came.clear()
        final = output[0] if isinstance(output, tuple) else output
        if isinstance(final, Tensor):
            self.final = final.float().reshape(-1, final.shape[-1])

    def close(self) -> None:
        """Take the hooks off."""
        while self._handles:
            self._handles.pop().remove()

    def _listen(self, block: int, anchor: Anchor) -> Callable[[Tensor, Tensor | None], None]:
        def keep(first: Tensor, second: Tensor | None) -> None:
            if self._tokens is not None and isinstance(first, Tensor):
                # the stream before a block is what the one before it gave
                stale = anchor.pairs and block - 1 in self._stale
                self._came.setdefault(block, []).append(anchor.scale * whole_of(first, None if stale else second))

        return keep

    def _look(self, block: int) -> Callable[[Any, Tensor | None], Pair | None]:
        def look(hidden: Any, residual: Tensor | None) -> Pair | None:
            if self._tokens is None:
                return None
            if not isinstance(hidden, Tensor) or hidden.dim() < 2 or hidden.shape[:-1].numel() != self._tokens:
                self.odd[block] = (
                    str(list(hidden.shape)) if isinstance(hidden, Tensor) else f"a {type(hidden).__name__}"
                )
                return None
            if residual is not None:
                self.pairs.add(block)
            state = whole_of(hidden, None if block in self._stale else residual)
            if block in self._keep:
                self.states[block] = state
            if came := self._came.pop(block, None):
                self.sums[block] = _apart(state, came, torch.finfo(hidden.dtype).eps)
            if residual is None or block not in self._blocks or self._move == "nothing":
                return None
            signs = torch.randint(2, hidden.shape[-1:], generator=torch.Generator().manual_seed(block)) * 2 - 1
            size = (hidden.float() ** 2 + residual.float() ** 2).mean(-1, keepdim=True).sqrt()
            step = (size * signs.to(size.device)).to(hidden.dtype)
            return (hidden - step if self._move == "across" else hidden), residual + step

        return look

    def report(self, tokens: int) -> dict[str, Any]:
        """What was seen, of the first `tokens` tokens, as plain values and bytes, which vLLM's transport takes."""
        states = {block: pack(state[:tokens]) for block, state in self.states.items()}
        final = b"" if self.final is None else pack(self.final[:tokens])
        return {"pairs": sorted(self.pairs), "odd": self.odd, "states": states, "sums": self.sums, "final": final}


def whole_of(first: Tensor, second: Tensor | None) -> Tensor:
    """A state of its own memory [tokens, hidden], float32: norms of vLLM write over what they are given."""
    whole = first.float() if second is None else first.float() + second.float()
    return whole.reshape(-1, whole.shape[-1]).clone()


def _apart(state: Tensor, came: Sequence[Tensor], eps: float) -> float:
    """How far a state is from its input and what was added, as a share of what was; the median over its tokens."""
    added = torch.stack(list(came[1:])).sum(dim=0)
    scale = added.norm(dim=-1) + STEPS * eps * state.norm(dim=-1)
    return float(((state - came[0] - added).norm(dim=-1) / scale).nanmedian())


def pack(values: Tensor) -> bytes:
    """Numbers as bytes."""
    return values.cpu().contiguous().numpy().tobytes()
