"""Steerer: forward hooks that add α·v to the output of a model's blocks, and leave no trace.

α is a number per row and the steered positions a mask, so one batch may hold rows of any strength.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.steering.blocks import base_model, find_blocks
from lm_eval_steer.steering.operators import add, add_keep_norm
from lm_eval_steer.steering.positions import generation_mask


class Steerer:
    """The steering of one model.

    Args:
        model: a transformers model, also under PEFT.
        directions: block -> [hidden].
        normalize: keep the length of each block output.
        blocks: where the blocks are, if `find_blocks` cannot tell.
    """

    def __init__(
        self,
        model: nn.Module,
        directions: Mapping[int, np.ndarray],
        *,
        normalize: bool = False,
        blocks: str | None = None,
    ) -> None:
        found = find_blocks(model, blocks)
        self._model = base_model(model)
        self._blocks = {block: found[block] for block in directions}
        self._directions = {block: torch.from_numpy(direction) for block, direction in directions.items()}
        self._operator: Callable[[Tensor, Tensor, Tensor], Tensor] = add_keep_norm if normalize else add
        self._strength: Tensor | None = None  # [rows, positions, 1] of the pass under way
        self._calls = dict.fromkeys(directions, 0)

    @contextmanager
    def scoring(self, alphas: Sequence[float], mask: Tensor) -> Iterator[None]:
        """Steer the forward passes inside: row i by `alphas[i]` at the positions of `mask` [rows, positions]."""
        with self._attached():
            self._strength = _strength(alphas, mask)
            yield

    @contextmanager
    def generating(self, alphas: Sequence[float], tokens: str, prompts: Tensor) -> Iterator[None]:
        """Steer the `generate` call inside.

        Args:
            alphas: α of each row; rows that `generate` multiplies (beams, several samples) inherit theirs.
            tokens: which positions (positions.py).
            prompts: attention mask of the prompts [rows, prompt positions], padded on the left.
        """

        def before_pass(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
            inputs: Tensor = kwargs["inputs_embeds"] if kwargs.get("input_ids") is None else kwargs["input_ids"]
            # transformers hands over no attention mask when there is no padding; the cache knows where a pass begins.
            # (Its keyword is `cache` from transformers 5.20 on, `past_key_values` before.)
            cache = kwargs.get("cache", kwargs.get("past_key_values"))
            copies, rest = divmod(len(inputs), len(alphas))
            if rest:
                raise SteeringError(f"{len(inputs)} rows are generated for {len(alphas)} requests")
            mask = generation_mask(tokens, prompts, 0 if cache is None else cache.get_seq_length(), inputs.shape[1])
            self._strength = _strength(alphas, mask).repeat_interleave(copies, dim=0)

        with self._attached() as stack:
            handle = self._model.register_forward_pre_hook(before_pass, with_kwargs=True)
            stack.callback(handle.remove)
            yield

    @contextmanager
    def _attached(self) -> Iterator[ExitStack]:
        self._calls = dict.fromkeys(self._blocks, 0)
        with ExitStack() as stack:
            stack.callback(setattr, self, "_strength", None)
            for block, module in self._blocks.items():
                stack.callback(module.register_forward_hook(self._hook(block)).remove)
            yield stack
        silent = [block for block, calls in self._calls.items() if calls == 0]
        if silent:
            raise SteeringError(
                f"the output of block {silent[0]} was never seen although the model ran: its forward is compiled or "
                "bypassed, and nothing was steered there"
            )

    def _hook(self, block: int) -> Callable[[nn.Module, Any, Any], Any]:
        def steer(module: nn.Module, args: Any, output: Any) -> Any:
            hidden = output[0] if isinstance(output, tuple) else output
            direction, strength = self._directions[block], self._strength
            if strength is None or hidden.dim() != 3 or hidden.shape[:2] != strength.shape[:2]:
                expected = None if strength is None else [*strength.shape[:2], len(direction)]
                raise SteeringError(
                    f"block {block} ({type(module).__name__}) returns {list(hidden.shape)}, expected {expected}: "
                    "set blocks= to the list of decoder blocks"
                )
            if hidden.shape[2] != len(direction):
                raise SteeringError(
                    f"block {block} ({type(module).__name__}) is {hidden.shape[2]} wide, the direction {len(direction)}"
                )
            if direction.device != hidden.device:  # the blocks of a split model live on several devices
                direction = self._directions[block] = direction.to(hidden.device)
            self._calls[block] += 1
            steered = self._operator(hidden, strength.to(hidden.device), direction)
            return (steered, *output[1:]) if isinstance(output, tuple) else steered

        return steer


def _strength(alphas: Sequence[float], mask: Tensor) -> Tensor:
    """α where steered, 0 elsewhere: [rows, positions, 1] float32."""
    return (torch.tensor(alphas, dtype=torch.float32, device=mask.device)[:, None] * mask)[..., None]
