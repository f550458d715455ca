"""Where the sites of a vLLM block are: modules whose inputs or outputs are read and steered.

vLLM's modules bear the names that the weights have in transformers. That a name means what it does elsewhere is not
taken for granted: the self-check adds up what is found (engines/vllm/states.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from inspect import signature
from typing import Any

from torch import Tensor, nn

Pair = tuple[Tensor, Tensor | None]
"""Two tensors [tokens, width] whose sum is what is there, or one that is it by itself."""
Change = Callable[[Tensor, Tensor | None], Pair | None]
"""(first, second) of what is there to those that take their place; None where they stay."""

_ATTENTION = ("self_attn", "attn", "attention", "self_attention")
_MLP = ("mlp", "block_sparse_moe", "shared_mlp", "feed_forward", "feedforward", "ffn", "fc2")
_STREAM = ("hidden_states", "hidden", "x")
_BEHIND_MLP = ("post_feedforward_layernorm", "post_mlp_layernorm")
_BEHIND_ATTENTION = ("post_self_attn_layernorm", "post_attention_layernorm")
"""Norms behind what is added. The second is one only in blocks that have one behind their MLP, too: in others it is the
norm before that."""


@dataclass(frozen=True, eq=False)
class Anchor:
    """One place of a model.

    Attributes:
        module: whose forward is hooked.
        reads_input: whether its input is what is there, and not its output.
        pairs: whether the residual stream is there, which may be the sum of two tensors.
        scale: by which what is there is multiplied before it enters the stream.
    """

    module: nn.Module
    reads_input: bool = False
    pairs: bool = False
    scale: float = 1.0

    def hook(self, change: Change) -> Any:
        """Hook the module; gives the handle."""
        if not self.reads_input:
            return self.module.register_forward_hook(lambda module, args, output: self._on_output(change, output))
        names = list(signature(self.module.forward).parameters)
        found = [names.index(name) for name in names if name in _STREAM][:1] or [0]
        wanted = [*found, *(names.index(name) for name in names if self.pairs and name == "residual")]
        places = [(names[number], number) for number in wanted]
        return self.module.register_forward_pre_hook(
            lambda module, args, kwargs: _on_input(change, places, args, kwargs), with_kwargs=True
        )

    def _on_output(self, change: Change, output: Any) -> Any:
        first, second = parts(output)
        after = change(first, second if self.pairs else None)
        if after is None:
            return None
        if not isinstance(output, tuple):
            return after[0]
        return (after[0], *(output[1:] if after[1] is None else (after[1], *output[2:])))


def _on_input(
    change: Change, places: Sequence[tuple[str, int]], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    given = [kwargs[name] if name in kwargs else args[number] for name, number in places]
    after = change(given[0], given[1] if len(given) > 1 else None)
    if after is None:
        return None
    listed, named = list(args), dict(kwargs)
    for (name, number), tensor in zip(places, after, strict=False):
        if tensor is not None and name in kwargs:
            named[name] = tensor
        elif tensor is not None:
            listed[number] = tensor
    return tuple(listed), named


def parts(output: Any) -> tuple[Any, Tensor | None]:
    """A block's output as its first tensor, and a second of its shape where there is one."""
    if not isinstance(output, tuple) or not output:
        return output, None
    second = output[1] if len(output) > 1 else None
    fits = isinstance(second, Tensor) and isinstance(output[0], Tensor) and second.shape == output[0].shape
    return output[0], second if fits else None


def block_output(block: nn.Module) -> Anchor:
    """The residual stream behind a block."""
    return Anchor(block, pairs=True)


def block_input(block: nn.Module) -> Anchor:
    """The residual stream before a block."""
    return Anchor(block, reads_input=True, pairs=True)


def contributions(block: nn.Module) -> tuple[list[Anchor], list[Anchor]]:
    """What attention and what the MLP of a block add to the residual stream, as far as they are known by name.

    Either may be of several modules, whose sum it is, or of none.
    """
    scale = getattr(block, "residual_multiplier", 1.0)
    behind_mlp = _named(block, _BEHIND_MLP)[:1]
    own = _named(block, _BEHIND_ATTENTION[: 2 if behind_mlp else 1])[:1]
    attention, mlp = _named(block, _ATTENTION), _named(block, _MLP)
    return tuple(  # type: ignore[return-value]
        [Anchor(module, scale=scale) for module in (behind if behind and found else found)]
        for behind, found in ((own, attention), (behind_mlp, mlp))
    )


def _named(block: nn.Module, names: Sequence[str]) -> list[nn.Module]:
    children = dict(block.named_children())
    return [children[name] for name in names if name in children]
