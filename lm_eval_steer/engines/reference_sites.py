"""Where the oracle meets each site, written down family by family: it shares nothing with what engines find out.

Where it can, it acts in another place than they do: `block_input` at the output of the block before, `heads` behind the
output projection (its weights times what changes in front of it), `final_norm` at what the model's head is given.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from lm_eval_steer.interventions.intervention import Edit

Change = Callable[[Tensor], Tensor]
"""What is there at every position [positions, width] or [positions, heads, head_dim], float64 -> what it becomes."""


class Parts(NamedTuple):
    """Names in a block of one family.

    Attributes:
        attention: the module whose output attention adds to the residual stream.
        mlp: the same of the MLP.
        projection: the output projection of attention.
        multiplier: of both, as the configuration names it.
        norm: the last norm in the model, of a family that scales its output in front of the head.
    """

    attention: str = "self_attn"
    mlp: str = "mlp"
    projection: str = "self_attn.o_proj"
    multiplier: str | None = None
    norm: str | None = None


_BEHIND = Parts("post_attention_layernorm", "post_feedforward_layernorm")
FAMILIES = {
    "gemma2": _BEHIND,
    "gemma3_text": _BEHIND,
    "gemma4_text": _BEHIND,
    "t5_gemma_module": _BEHIND._replace(attention="post_self_attn_layernorm"),
    "gpt2": Parts("attn", "mlp", "attn.c_proj"),
    "openai-gpt": Parts("attn", "mlp", "attn.c_proj"),
    "gpt_neo": Parts("attn", "mlp", "attn.attention.out_proj"),
    "gpt_neox": Parts("attention", "mlp", "attention.dense"),
    "falcon": Parts("self_attention", "mlp", "self_attention.dense"),
    "granite": Parts(multiplier="residual_multiplier"),
    "opt": Parts("self_attn", "fc2", "self_attn.out_proj"),
    "bart": Parts("self_attn", "fc2", "self_attn.out_proj"),
    "lfm2": Parts("self_attn", "feed_forward", "self_attn.out_proj"),
    "recurrent_gemma": Parts("temporal_block", "mlp_block", "temporal_block.o_proj"),
    "rwkv": Parts("attention", "feed_forward"),
    "t5": Parts(norm="decoder.final_layer_norm"),
}
"""Model type -> names; every other family has those of Llama."""


def attach(model: Any, blocks: Sequence[nn.Module], config: Any, edit: Edit, change: Change) -> list[Any]:
    """Hook what one edit changes; gives the handles.

    Args:
        model: a transformers model, which is given one text at a time.
        blocks: its blocks.
        config: of its language model.
        edit: whose site and block are meant.
        change: see `Change`.
    """
    block, parts = blocks[edit.block], FAMILIES.get(config.model_type, Parts())
    if edit.site == "block":
        return [block.register_forward_hook(_behind(change))]
    if edit.site == "block_input":
        if edit.block:
            return [blocks[edit.block - 1].register_forward_hook(_behind(change))]
        return [block.register_forward_pre_hook(_before(change), with_kwargs=True)]
    if edit.site == "final_norm" and parts.norm:
        return [model.get_submodule(parts.norm).register_forward_hook(_behind(change))]
    if edit.site == "final_norm":
        return [model.get_output_embeddings().register_forward_pre_hook(_before(change), with_kwargs=True)]
    if edit.site == "heads":
        return _behind_projection(block.get_submodule(parts.projection), edit.direction.shape[0], change)
    factor = getattr(config, parts.multiplier) if parts.multiplier else 1.0
    module = block.get_submodule({"attention": parts.attention, "mlp": parts.mlp}[edit.site])
    return [module.register_forward_hook(_behind(lambda rows: change(rows * factor) / factor))]


def _changed(hidden: Tensor, change: Change) -> Tensor:
    rows = hidden.reshape(-1, hidden.shape[-1]).cpu().double()
    return change(rows).to(hidden).view(hidden.shape)


def _behind(change: Change) -> Callable[..., Any]:
    def steer(module: nn.Module, args: Any, output: Any) -> Any:
        if isinstance(output, (tuple, list)):
            return (_changed(output[0], change), *output[1:])
        return _changed(output, change)

    return steer


def _before(change: Change) -> Callable[..., Any]:
    def steer(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> Any:
        return (_changed(args[0], change), *args[1:]), kwargs

    return steer


def _behind_projection(projection: nn.Module, heads: int, change: Change) -> list[Any]:
    moved: list[Tensor] = []
    weight: Any = projection.weight
    matrix = (
        (weight if isinstance(projection, Conv1D) else weight.T).detach().cpu().double()
    )  # [heads x head_dim, hidden]

    def keep(module: nn.Module, args: Any) -> None:
        rows = args[0].reshape(-1, args[0].shape[-1]).cpu().double()
        by_head = rows.unflatten(-1, (heads, -1))
        moved.append((change(by_head) - by_head).flatten(1))

    def add(module: nn.Module, args: Any, output: Tensor) -> Tensor:
        return output + (moved.pop() @ matrix).to(output).view(output.shape)

    return [projection.register_forward_pre_hook(keep), projection.register_forward_hook(add)]


def by_head(operate: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """An operator on [positions, heads, head_dim], head by head; a head whose direction is nothing stays.

    Args:
        operate: (h [positions, width], strength [positions, 1], v) -> h'.

    Returns:
        (h, strength [positions, heads, 1], v [heads, ...]) -> h'.
    """

    def steer(h: Tensor, strength: Tensor, v: Tensor) -> Tensor:
        return torch.stack(
            [operate(h[:, n], strength[:, n], v[n]) if v[n].any() else h[:, n] for n in range(h.shape[1])], dim=1
        )

    return steer
