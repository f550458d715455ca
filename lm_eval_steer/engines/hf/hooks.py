"""Steerer: forward hooks that add α·v to the output of a model's blocks, and leave no trace.

The strength is a number per row and block, the steered positions are a mask: one batch holds rows of any strength.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lm_eval_steer.engines.doses import Doses
from lm_eval_steer.engines.hf.blocks import base_model, find_blocks, text_config
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.operators import add, add_keep_norm
from lm_eval_steer.interventions.tokens import TOKENS, generation_mask
from lm_eval_steer.interventions.units import share_of_norm

MEASURED = 16
"""Doses are measured on every pass of several positions and on every so many passes of one."""


@dataclass
class _Pass:
    """The forward pass under way."""

    strengths: tuple[Tensor, ...]  # of each steered block, 0 where the mask steers nothing [rows, positions, 1]
    shape: torch.Size  # [rows, positions]
    index: Tensor  # [rows], number of each row's strength
    measured: bool
    steered: Tensor  # how many rows and positions have a strength other than 0, per steered block [blocks]
    ran: set[int] = field(default_factory=set)  # blocks that have run


class Steerer:
    """The steering of one model.

    Args:
        model: a transformers model, also under PEFT.
        directions: block -> [hidden].
        normalize: keep the length of each block output.
        share: strengths are shares of each position's ‖h‖ instead of lengths.
        blocks: where the blocks are, if `find_blocks` cannot tell.
        strengths: how many strengths the doses tell apart.

    Attributes:
        doses: what was measured since the Steerer was made.
        applied: block -> rows and positions that its hook has steered, by a strength other than 0.
    """

    def __init__(
        self,
        model: nn.Module,
        directions: Mapping[int, np.ndarray],
        *,
        normalize: bool = False,
        share: bool = False,
        blocks: str | None = None,
        strengths: int = 1,
    ) -> None:
        found = find_blocks(model, blocks)
        self._model = base_model(model)
        self._blocks = {block: found[block] for block in directions}
        self._column = {block: column for column, block in enumerate(directions)}
        self._directions = {block: torch.from_numpy(direction) for block, direction in directions.items()}
        self._operator: Callable[[Tensor, Tensor, Tensor], Tensor] = add_keep_norm if normalize else add
        self._share = share
        self._pass: _Pass | None = None
        self._single_passes = 0
        self._seen = set[int]()
        self._applied = torch.zeros(len(directions), dtype=torch.int64)
        self._credit = torch.zeros(len(directions), dtype=torch.int64)
        self.doses = Doses(strengths, list(directions), pure=not normalize)

    @property
    def applied(self) -> dict[int, int]:
        return dict(zip(self._blocks, (self._applied.cpu() + self._credit).tolist(), strict=True))

    def credit(self, applied: Mapping[int, int], times: int) -> None:
        """Count what was steered once, in a beginning that prompts share, for every further row that uses it."""
        for block, count in applied.items():
            self._credit[self._column[block]] += count * times

    def next_pass(self, strengths: Sequence[float] | Tensor, mask: Tensor, index: Tensor | None = None) -> None:
        """Say what the forward passes to come inside `attached` add.

        Args:
            strengths: α per row, or per row and steered block [rows, blocks].
            mask: steered positions [rows, positions].
            index: number of each row's strength [rows], which the doses tell apart (default: all are number 0).
        """
        wide = torch.as_tensor(strengths, dtype=torch.float32, device=mask.device)
        if wide.dim() == 1:
            wide = wide[:, None].expand(-1, len(self._blocks))
        if index is None:
            index = torch.zeros(len(wide), dtype=torch.int64)
        self._end_pass()
        single = mask.shape[1] == 1
        self._single_passes += single
        strengths = wide.T[:, :, None] * mask
        self._pass = _Pass(
            strengths[..., None].unbind(0),
            mask.shape,
            index,
            not single or self._single_passes % MEASURED == 1,
            strengths.count_nonzero(dim=(1, 2)),
        )

    def _end_pass(self) -> None:
        """Count what was steered in the blocks that ran: once for all of them, since a GPU is slow to be told."""
        now, self._pass = self._pass, None
        if now is not None:
            ran = torch.tensor([block in now.ran for block in self._blocks], device=now.steered.device)
            self._applied = self._applied.to(ran.device) + now.steered * ran

    @contextmanager
    def scoring(self, strengths: Sequence[float] | Tensor, mask: Tensor, index: Tensor | None = None) -> Iterator[None]:
        """`attached`, for one pass that `next_pass` describes."""
        with self.attached():
            self.next_pass(strengths, mask, index)
            yield

    @contextmanager
    def generating(
        self, strengths: Sequence[float] | Tensor, tokens: str, prompts: Tensor, index: Tensor | None = None
    ) -> Iterator[None]:
        """Steer a `generate` call whose loop is transformers' own.

        Args:
            strengths: of each row; rows that `generate` multiplies (beams, several samples) inherit theirs.
            tokens: which positions (positions.py).
            prompts: attention mask of the prompts [rows, prompt positions], padded on the left; of an encoder-decoder
                that of the decoder's start tokens [rows, 1].
            index: as for `next_pass`.
        """
        wide = torch.as_tensor(strengths, dtype=torch.float32, device=prompts.device)
        index = torch.zeros(len(wide), dtype=torch.int64) if index is None else index

        run = 0

        def before_pass(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
            nonlocal run
            told = (kwargs.get(name) for name in ("decoder_input_ids", "input_ids", "inputs_embeds"))
            inputs: Tensor = next(value for value in told if value is not None)
            start = _beginning(kwargs, inputs.shape[1], run)
            run = start + inputs.shape[1]
            copies, rest = divmod(len(inputs), len(wide))
            if rest:
                raise SteeringError(f"{len(inputs)} rows are generated for {len(wide)} requests")
            mask = generation_mask([TOKENS[tokens]], prompts, start, inputs.shape[1])
            repeat = [value.repeat_interleave(copies, dim=0) for value in (wide, mask, index)]
            self.next_pass(*repeat)

        with self.attached() as stack:
            handle = self._model.register_forward_pre_hook(before_pass, with_kwargs=True)
            stack.callback(handle.remove)
            yield

    @contextmanager
    def attached(self) -> Iterator[ExitStack]:
        """Hold the hooks on the blocks; every forward pass inside is announced by `next_pass`."""
        self._seen.clear()
        with ExitStack() as stack:
            stack.callback(self._end_pass)
            if getattr(text_config(self._model), "num_kv_shared_layers", 0):
                stack.callback(self._model.register_forward_pre_hook(_run_all_positions, with_kwargs=True).remove)
            for block, module in self._blocks.items():
                stack.callback(module.register_forward_hook(self._hook(block)).remove)
            yield stack
        silent = [block for block in self._blocks if block not in self._seen]
        if silent:
            raise SteeringError(
                f"the output of block {silent[0]} was never seen although the model ran: its forward is compiled or "
                "bypassed, and nothing was steered there"
            )

    def _check(self, block: int, module: nn.Module, hidden: Tensor) -> _Pass:
        """The pass under way, if this is the one output of the block that it announces.

        Raises:
            SteeringError: else.
        """
        now, kind, width = self._pass, type(module).__name__, len(self._directions[block])
        if now is None or hidden.dim() != 3 or hidden.shape[:2] != now.shape:
            if hidden.dim() == 4:
                raise SteeringError(
                    f"block {block} ({kind}) returns {list(hidden.shape)}: this model keeps several residual streams, "
                    "and a steering vector is for one"
                )
            expected = None if now is None else [*now.shape, width]
            raise SteeringError(
                f"block {block} ({kind}) returns {list(hidden.shape)}, expected {expected}: "
                "set blocks= to the list of decoder blocks"
            )
        if hidden.shape[2] != width:
            raise SteeringError(f"block {block} ({kind}) is {hidden.shape[2]} wide, the direction {width}")
        if block in now.ran:
            raise SteeringError(
                f"block {block} ({kind}) runs several times in one pass, so that α·v would be added as often: "
                "steer blocks that run once, with layers="
            )
        now.ran.add(block)
        self._seen.add(block)
        return now

    def _hook(self, block: int) -> Callable[[nn.Module, Any, Any], Any]:
        column = self._column[block]

        def steer(module: nn.Module, args: Any, output: Any) -> Any:
            hidden = output[0] if isinstance(output, (tuple, list)) else output
            direction, now = self._directions[block], self._check(block, module, hidden)
            if direction.device != hidden.device:  # the blocks of a split model live on several devices
                direction = self._directions[block] = direction.to(hidden.device)
            strength = now.strengths[column].to(hidden.device)
            if self._share:
                strength = share_of_norm(hidden, strength, direction)
            steered = self._operator(hidden, strength, direction)
            if now.measured:
                self.doses.add(block, now.index, strength, hidden, steered, direction)
            return (steered, *output[1:]) if isinstance(output, (tuple, list)) else steered

        return steer


def _run_all_positions(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Have every block of a model that shares keys and values between blocks (Gemma 4) run every position.

    transformers runs the last blocks on `logits_to_keep` positions, if that is a number
    (`Gemma4TextModel._maybe_slice_kv_shared_inputs`). Positions that are named are all run, and give the same logits.
    """
    kept, ids = kwargs.get("logits_to_keep"), kwargs.get("input_ids")
    if ids is not None and isinstance(kept, int) and kept:
        kwargs = kwargs | {"logits_to_keep": torch.arange(ids.shape[1] - kept, ids.shape[1], device=ids.device)}
    return args, kwargs


def _beginning(kwargs: Mapping[str, Any], new: int, run: int) -> int:
    """Where a pass of `generate` begins: behind what its cache holds.

    Args:
        kwargs: of the pass.
        new: how many positions it runs.
        run: how many were run before it: a cache of states (Mamba, RWKV, MiniMax) does not count them.

    transformers hands over no attention mask when there is no padding. The keyword of the cache is `cache` from
    transformers 5.20 on, `past_key_values` before.
    """
    cache = kwargs.get("cache", kwargs.get("past_key_values"))
    held = 0
    if cache is not None:
        with suppress(ValueError):  # of one that has no keys
            held = int(cache.get_seq_length())
    return held or (run if new <= run else 0)  # without any cache, a pass runs all anew
