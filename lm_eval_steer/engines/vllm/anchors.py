"""Where the sites of a vLLM model are: modules whose inputs or outputs are read and steered.

vLLM's modules bear the names that the weights have in transformers. That a name means what it does elsewhere is not
taken for granted: the self-check adds up what is found (engines/vllm/states.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from inspect import signature
from typing import Any

from torch import Tensor, nn

from lm_eval_steer.engines.vllm.versions import STAND_IN
from lm_eval_steer.interventions.intervention import Edit
from lm_eval_steer.sites import SITES, Place, split, told

Pair = tuple[Tensor, Tensor | None]
"""Two tensors [tokens, width] whose sum is what is there, or one that is it by itself."""
Change = Callable[[Tensor, Tensor | None], Pair | None]
"""(first, second) of what is there to those that take their place; None where they stay."""

_ATTENTION = ("self_attn", "attn", "attention", "self_attention")
_MLP = ("mlp", "block_sparse_moe", "shared_mlp", "feed_forward", "feedforward", "ffn", "fc2")
_PROJECTION = ("o_proj", "c_proj", "out_proj", "dense", "wo")
_FINAL_NORM = ("norm", "ln_f", "final_layernorm", "final_layer_norm", "norm_f", "embedding_norm")
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
        heads: those of all heads that are in this process, where what is there is [heads, head_dim]; else None.
    """

    module: nn.Module
    reads_input: bool = False
    pairs: bool = False
    scale: float = 1.0
    heads: slice | None = None

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
    scale = float(getattr(block, "residual_multiplier", 1.0))
    behind_mlp = _named(block, _BEHIND_MLP)[:1]
    behind_attention = _named(block, _BEHIND_ATTENTION[: 2 if behind_mlp else 1])[:1]
    attention, mlp = _named(block, _ATTENTION), _named(block, _MLP)
    attention, mlp = (attention and behind_attention) or attention, (mlp and behind_mlp) or mlp
    return [Anchor(one, scale=scale) for one in attention], [Anchor(one, scale=scale) for one in mlp]


@dataclass(frozen=True, eq=False)
class Decoder:
    """The part of a model where sites are.

    Attributes:
        blocks: in their order; those of other pipeline ranks are stand-ins.
        inside: the module that holds them.
    """

    blocks: Sequence[nn.Module]
    inside: nn.Module


def is_missing(module: nn.Module) -> bool:
    """Whether a block, or the last norm, is on another pipeline rank."""
    return type(module).__name__ == STAND_IN


def _attention(decoder: Decoder, place: Place) -> Anchor:
    return _one(decoder, place, contributions(decoder.blocks[split(place)[1]])[0])


def _mlp(decoder: Decoder, place: Place) -> Anchor:
    return _one(decoder, place, contributions(decoder.blocks[split(place)[1]])[1])


def _heads(decoder: Decoder, place: Place) -> Anchor:
    attention = _one(decoder, place, [Anchor(one) for one in _named(decoder.blocks[split(place)[1]], _ATTENTION)])
    found = _named(attention.module, _PROJECTION)
    if len(found) != 1:
        raise ValueError(_lacks(place, attention.module))
    return Anchor(found[0], reads_input=True, heads=slice(None))


def _final_norm(decoder: Decoder, place: Place) -> Anchor:
    found = _named(decoder.inside, _FINAL_NORM)
    if len(found) != 1:
        raise ValueError(_lacks(place, decoder.inside))
    return Anchor(found[0])


FINDERS: Mapping[str, Callable[[Decoder, Place], Anchor]] = {
    "block": lambda decoder, place: block_output(decoder.blocks[split(place)[1]]),
    "block_input": lambda decoder, place: block_input(decoder.blocks[split(place)[1]]),
    "attention": _attention,
    "mlp": _mlp,
    "heads": _heads,
    "final_norm": _final_norm,
}
"""Site -> where it is; a ValueError says in a sentence that there is none."""


def find_anchors(decoder: Decoder, edits: Iterable[Edit]) -> dict[Place, Anchor]:
    """Where edits act, of those places that this process holds.

    Args:
        decoder: of the model.
        edits: of all interventions.

    Raises:
        ValueError: a sentence, for a place that the model does not have, and for directions that do not fit its heads.
    """
    found: dict[Place, Anchor] = {}
    for edit in edits:
        if edit.site not in FINDERS:
            raise ValueError(f"steered-vllm steers at {', '.join(FINDERS)}, and this run steers at {edit.site}")
        if SITES[edit.site].in_blocks:
            if not 0 <= edit.block < len(decoder.blocks):
                raise ValueError(
                    f"an intervention steers block {edit.block}, and the model has blocks 0 to "
                    f"{len(decoder.blocks) - 1}"
                )
            if is_missing(decoder.blocks[edit.block]):
                continue
        anchor = FINDERS[edit.site](decoder, edit.place)
        if not is_missing(anchor.module):
            found[edit.place] = anchor if anchor.heads is None else _held(anchor, edit)
    return found


def _held(anchor: Anchor, edit: Edit) -> Anchor:
    """The anchor of heads with those that this rank has: vLLM gives each as many, in their order."""
    module: Any = anchor.module
    whole = module.input_size
    here = getattr(module, "input_size_per_partition", whole)
    heads, width = edit.direction.shape[0], edit.direction.shape[-1]
    if heads * width != whole or here % width:
        raise ValueError(
            f"{told(edit.place)} is {whole} wide, and the direction is for {heads} heads of {width}: give one of this "
            "model"
        )
    count = here // width
    first = getattr(module, "tp_rank", 0) * count if here < whole else 0
    return replace(anchor, heads=slice(first, first + count))


def _one(decoder: Decoder, place: Place, found: Sequence[Anchor]) -> Anchor:
    if len(found) != 1:
        raise ValueError(_lacks(place, decoder.blocks[split(place)[1]]))
    return found[0]


def _lacks(place: Place, module: nn.Module) -> str:
    """Why there is no such place, in a sentence."""
    return (
        f"{type(module).__name__} in vLLM has no one module that is {told(place)}; it has "
        f"{', '.join(name for name, _ in module.named_children())}: steer another site, or use --model steered-hf"
    )


def _named(block: nn.Module, names: Sequence[str]) -> list[nn.Module]:
    children = dict(block.named_children())
    return [children[name] for name in names if name in children]
