"""What the parts of a model's blocks add to the residual stream, by what they hand to each other.

That is measured, not looked up: in a pass over a few tokens, the output of a block must be its input plus what its
parts add, each times a constant (`lstsq`). So a norm behind attention or MLP, a multiplier of the family and parallel
blocks are found alike, and a block of another build is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers.utils import ModelOutput

from lm_eval_steer.engines.hf.blocks import base_model, decoder, text_config
from lm_eval_steer.errors import SteeringError

_POSITIONS = 5
"""Of the text that is run."""
_SHARE = 1e-3
"""Of a block's change may be missing in one component, beside the rounding of the dtype."""
_NAMES = {
    "attention": re.compile(r"^(?!.*(cross|linear|encoder|norm)).*att(ention|n)", re.IGNORECASE),
    "mlp": re.compile(r"^(?!.*norm).*(mlp|feed_?forward|ffn|moe|expert|fc2)", re.IGNORECASE),
}
"""Names and classes of a block's modules, `self_attn (LlamaAttention)`."""


@dataclass(frozen=True, eq=False)
class _Call:
    """One run of a module: what it was given and what it gave, as they were then, and the tensors themselves."""

    module: nn.Module
    given: Tensor | None
    came: Tensor
    was: Tensor


class Survey:
    """One pass of a model over a few tokens.

    Args:
        model: a transformers model.
        blocks: those that are looked into, by their numbers.

    Raises:
        SteeringError: where the model cannot be run so.
    """

    def __init__(self, model: nn.Module, blocks: Mapping[int, nn.Module]) -> None:
        self._model, self._blocks = base_model(model), dict(blocks)
        self._kind = type(self._model).__name__
        self._calls: list[_Call] = []
        self._inputs: dict[int, Tensor] = {}
        body, was_training = decoder(model), self._model.training
        ids = torch.arange(1, _POSITIONS + 1, device=next(self._model.parameters()).device)[None]
        ids %= text_config(self._model).vocab_size
        told = {"input_ids": ids} | ({"decoder_input_ids": ids} if self._model.config.is_encoder_decoder else {})
        self._model.eval()
        try:
            with ExitStack() as stack, torch.no_grad():
                for number, block in self._blocks.items():
                    stack.callback(
                        block.register_forward_pre_hook(partial(self._enter, number), with_kwargs=True).remove
                    )
                for module in self._modules(body):
                    stack.callback(module.register_forward_hook(self._keep, with_kwargs=True).remove)
                output = body(**told, use_cache=False)
        finally:
            self._model.train(was_training)
        self._last = _first(output)
        if self._model.config.is_encoder_decoder:
            ends = self._model.get_decoder()
            self._last = next((one.was for one in self._calls if one.module is ends), None)

    def _modules(self, body: nn.Module) -> Iterable[nn.Module]:
        """Those of the blocks that are looked into, and all that lie outside of the list of blocks."""
        inside = {module for block in self._blocks.values() for module in block.modules()}
        lists = [one for one in body.modules() if isinstance(one, nn.ModuleList) and set(one) & inside]
        skipped = {module for blocks in lists for module in blocks.modules()} - inside
        return [module for module in body.modules() if module not in skipped]

    def _enter(self, number: int, module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        given = _given(args, kwargs)
        if given is not None:
            self._inputs[number] = given.clone()

    def _keep(self, module: nn.Module, args: Any, kwargs: dict[str, Any], output: Any) -> None:
        came = _first(output)
        if came is not None:
            self._calls.append(_Call(module, _given(args, kwargs), came, came.clone()))

    # What is added

    def added(self, number: int, part: str) -> tuple[nn.Module, float, bool]:
        """The module whose output enters the residual stream, by what it is multiplied there, and whether it gives rows
        and positions joined [rows x positions, hidden].

        Args:
            number: of the block.
            part: `attention` or `mlp`.

        Raises:
            SteeringError: for a block that has no such part or several, and one that is no sum of what its parts give.
        """
        name, call = self._part(number, part)
        block, parts = self._blocks[number], self._parts(number)
        came = [one for one in self._calls if one.module is block]
        if not came or number not in self._inputs or came[0].was.shape != self._inputs[number].shape:
            raise SteeringError(f"block {number} of {self._kind} hands on no residual stream: steer another site")
        after, before = came[0].was, self._inputs[number]
        columns = [before, *(one.was for one in parts.values())]
        table = torch.stack([one.reshape(-1).double().cpu() for one in columns], dim=1)
        target = after.reshape(-1).double().cpu()
        factors = torch.linalg.lstsq(table, target[:, None]).solution[:, 0]
        rounding = 4 * torch.finfo(after.dtype).eps * float(after.abs().max() + before.abs().max())
        missing = float((table @ factors - target).abs().max())
        own = float(factors[1 + list(parts).index(name)])
        change = float((target - table[:, 0]).abs().max())
        if missing > _SHARE * change + rounding or abs(factors[0]) < _SHARE or abs(own) < _SHARE:
            raise SteeringError(
                f"block {number} of {self._kind} is not its input plus what {', '.join(parts)} give, so nothing is "
                f"what {name} adds to the residual stream: steer another site, such as block"
            )
        factor = own / float(factors[0])
        is_one = abs(factor - 1) < max(_SHARE, 4 * torch.finfo(after.dtype).eps)
        return call.module, 1.0 if is_one else factor, call.was.dim() == 2

    def projection(self, number: int) -> tuple[nn.Module, int]:
        """The output projection of a block's attention, and how many heads it reads.

        Raises:
            SteeringError: for a block that has none.
        """
        name, _ = self._part(number, "attention")
        attention = dict(self._blocks[number].named_children())[name]
        inside = set(attention.modules()) - {attention}
        came = next(one.was for one in self._calls if one.module is attention)
        ends = [
            one
            for one in self._calls
            if one.module in inside and _is_linear(one.module) and torch.equal(one.was.reshape(-1), came.reshape(-1))
        ]
        heads = getattr(text_config(self._model), "num_attention_heads", None)
        if not ends or not isinstance(heads, int) or ends[-1].given is None or ends[-1].given.shape[-1] % heads:
            raise SteeringError(
                f"{name} of block {number} of {self._kind} has no output projection that reads heads: steer another "
                "site, such as attention"
            )
        return ends[-1].module, heads

    def last_norm(self) -> nn.Module:
        """The norm whose output the model's head reads.

        Raises:
            SteeringError: where there is none.
        """
        inside = {module for block in self._blocks.values() for module in block.modules()}
        for one in reversed(self._calls):
            is_norm = "norm" in type(one.module).__name__.lower() and one.module not in inside
            if is_norm and self._last is not None and torch.equal(one.was.reshape(-1), self._last.reshape(-1)):
                return one.module
        raise SteeringError(
            f"{self._kind} has no norm behind its last block whose output its head reads: steer the last block"
        )

    def _part(self, number: int, part: str) -> tuple[str, _Call]:
        """Name of a block's part, and the run of the module whose output it hands on."""
        parts = self._parts(number)
        modules = dict(self._blocks[number].named_children())
        found = [name for name in parts if _NAMES[part].search(name)]
        found = found or [name for name in parts if _NAMES[part].search(type(modules[name]).__name__)]
        if len(found) != 1:
            lacks = f"no one {part} but {' and '.join(found)}" if found else f"no {part}"
            raise SteeringError(
                f"block {number} of {self._kind} has {lacks}, what it has is {', '.join(parts or modules)}: choose "
                "other blocks with layers=, or another site"
            )
        return found[0], parts[found[0]]

    def _parts(self, number: int) -> dict[str, _Call]:
        """Parts of a block that no other part reads, by name, each with the run of the module that hands it on."""
        return self._all_parts[number]

    @cached_property
    def _all_parts(self) -> dict[int, dict[str, _Call]]:
        return {number: self._find_parts(number) for number in self._blocks}

    def _find_parts(self, number: int) -> dict[str, _Call]:
        block = self._blocks[number]
        names = {module: name for name, module in block.named_children()}
        if number not in self._inputs:
            raise SteeringError(f"block {number} of {self._kind} did not run when the model read a text")
        size = self._inputs[number].numel()
        inside = set(block.modules())
        every = [one for one in self._calls if one.module in inside]
        calls = [one for one in every if one.module in names and one.came.numel() == size]
        found: dict[str, _Call] = {}
        behind: set[nn.Module] = set()
        for one in calls:
            if one.module in behind:
                continue
            last = one
            while _is_named(names[one.module], one.module) and (after := self._reader(calls, last, behind)):
                behind.add(after.module)
                last = last if isinstance(after.module, nn.Dropout) else after
            own = {*one.module.modules(), *behind}
            if not any(other.given is last.came for other in every if other.module not in own):
                found[names[one.module]] = last
        return found

    @staticmethod
    def _reader(calls: Iterable[_Call], one: _Call, seen: set[nn.Module]) -> _Call | None:
        """The run that was given what another gave."""
        return next((o for o in calls if o is not one and o.given is one.came and o.module not in seen), None)


def _is_named(name: str, module: nn.Module) -> bool:
    """Whether a module is attention or MLP, so that a norm that reads it belongs to it."""
    return any(kind.search(name) or kind.search(type(module).__name__) for kind in _NAMES.values())


def _is_linear(module: nn.Module) -> bool:
    weight = getattr(module, "weight", None)
    return isinstance(weight, Tensor) and weight.dim() == 2


def _given(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor | None:
    """What a module works on."""
    return _first(args or kwargs.get("hidden_states", tuple(kwargs.values())))


def _first(values: Any) -> Tensor | None:
    """A tensor, or the first of several."""
    if isinstance(values, (tuple, list, ModelOutput)):
        values = values[0] if len(values) else None
    return values if isinstance(values, Tensor) else None
