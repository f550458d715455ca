"""Twins of a Llama: the same function in another basis of the residual stream, or with blocks that add nothing."""

from __future__ import annotations

import copy

import torch
from torch import Tensor
from transformers import LlamaForCausalLM


def rotated(model: LlamaForCausalLM, seed: int = 0) -> LlamaForCausalLM:
    """The model with its residual stream h turned into h R, R orthogonal and drawn: logits stay, states are turned.

    The scales of its norms g are folded into what reads behind them (W g), since RMS is the same in every basis and a
    scale per component is not. What reads the stream then becomes W R, what writes into it Rᵀ W.
    """
    twin = copy.deepcopy(model)
    twin.config.tie_word_embeddings = False
    twin.lm_head.weight = torch.nn.Parameter(model.get_output_embeddings().weight.detach().clone())
    turn = rotation(model.config.hidden_size, seed)
    with torch.no_grad():
        for block in twin.model.layers:
            attention, mlp = block.self_attn, block.mlp
            for norm, readers in (
                (block.input_layernorm, (attention.q_proj, attention.k_proj, attention.v_proj)),
                (block.post_attention_layernorm, (mlp.gate_proj, mlp.up_proj)),
            ):
                for reader in readers:
                    _read_turned(reader, norm.weight, turn)
                norm.weight.fill_(1)
            for writer in (attention.o_proj, mlp.down_proj):
                writer.weight.copy_(turn.T @ writer.weight.double())
        _read_turned(twin.lm_head, twin.model.norm.weight, turn)
        twin.model.norm.weight.fill_(1)
        embeddings = twin.model.embed_tokens.weight
        embeddings.copy_(embeddings.double() @ turn)
    return twin


def rotation(width: int, seed: int) -> Tensor:
    """A random orthogonal matrix [width, width] in float64."""
    drawn = torch.randn(width, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.linalg.qr(drawn)[0]


def doubled(model: LlamaForCausalLM) -> LlamaForCausalLM:
    """The model with a block behind every block that adds nothing: blocks 2 l and 2 l + 1 have the outputs of l."""
    config = copy.deepcopy(model.config)
    config.num_hidden_layers *= 2
    twin = LlamaForCausalLM(config).eval()
    twin.load_state_dict(
        {key: value for key, value in model.state_dict().items() if not key.startswith("model.layers.")}, strict=False
    )
    with torch.no_grad():
        for number, block in enumerate(twin.model.layers):
            block.load_state_dict(model.model.layers[number // 2].state_dict())
            if number % 2:
                block.self_attn.o_proj.weight.zero_()
                block.mlp.down_proj.weight.zero_()
    return twin


def _read_turned(reader: torch.nn.Linear, scale: Tensor, turn: Tensor) -> None:
    reader.weight.copy_((reader.weight.double() * scale.double()) @ turn)
