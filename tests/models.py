"""Tiny random models of many families, and a tokenizer that takes any text: no download, a second each."""

from __future__ import annotations

from pathlib import Path

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

WIDTH, DEPTH = 32, 3
COMMON = {
    "vocab_size": 259,
    "hidden_size": WIDTH,
    "num_hidden_layers": DEPTH,
    "num_attention_heads": 4,
    "max_position_embeddings": 2048,
    "bos_token_id": 256,
    "eos_token_id": 257,
    "pad_token_id": 258,
}
_GROUPED = {"intermediate_size": 48, "num_key_value_heads": 2}

# family -> (configuration class, its own settings). Falcon stands for the families that nobody listed.
FAMILIES = {
    "llama": ("LlamaConfig", _GROUPED),
    "qwen2": ("Qwen2Config", _GROUPED),
    "qwen3": ("Qwen3Config", _GROUPED | {"head_dim": 8}),
    "gemma2": ("Gemma2Config", _GROUPED | {"head_dim": 8, "sliding_window": 16}),
    "phi3": ("Phi3Config", _GROUPED),
    "mistral": ("MistralConfig", _GROUPED | {"sliding_window": 16}),
    "gemma4": (
        "Gemma4TextConfig",
        _GROUPED
        | {"head_dim": 8, "global_head_dim": 8, "vocab_size_per_layer_input": 259, "hidden_size_per_layer_input": 8}
        | {"layer_types": ["sliding_attention", "full_attention", "full_attention"], "num_kv_shared_layers": 1},
    ),
    "gpt2": ("GPT2Config", {}),
    "gpt_neox": ("GPTNeoXConfig", {"intermediate_size": 48}),
    "mixtral": ("MixtralConfig", _GROUPED | {"num_local_experts": 3, "num_experts_per_tok": 2}),
    "falcon": ("FalconConfig", {"alibi": False, "new_decoder_architecture": False, "multi_query": True}),
}

_HYBRID = {
    "num_experts": 2,
    "num_experts_per_tok": 1,
    "moe_intermediate_size": 16,
    "shared_expert_intermediate_size": 16,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "head_dim": 8,
    "layer_types": ["linear_attention", "full_attention", "linear_attention"],
}
# Families with positions, states or windows of their own; of the last three a row is run at a time.
OTHERS = {
    "falcon, alibi": ("FalconConfig", {"alibi": True, "new_decoder_architecture": False, "multi_query": True}),
    "mamba": ("MambaConfig", {}),
    "qwen3_next": ("Qwen3NextConfig", _GROUPED | _HYBRID),
    "lfm2": ("Lfm2Config", _GROUPED | {"layer_types": ["conv", "full_attention", "conv"]}),
    "gpt_neo": (
        "GPTNeoConfig",
        {"num_layers": DEPTH, "num_heads": 4, "attention_types": [[["local", "global", "local"], 1]]},
    ),
    "openai-gpt": ("OpenAIGPTConfig", {}),
    "rwkv": ("RwkvConfig", {"attention_hidden_size": WIDTH, "context_length": 512}),
    "recurrent_gemma": (
        "RecurrentGemmaConfig",
        _GROUPED | {"head_dim": 8, "lru_width": WIDTH, "attention_window_size": 16},
    ),
    "minimax": (
        "MiniMaxConfig",
        _GROUPED
        | {"head_dim": 8, "num_local_experts": 2, "num_experts_per_tok": 1}
        | {"layer_types": ["linear_attention", "full_attention", "linear_attention"]},
    ),
}

# Families that are steered on vLLM alone.
ON_VLLM = {"cohere": ("CohereConfig", _GROUPED), "granitemoehybrid": ("GraniteMoeHybridConfig", _GROUPED)}

# Families that multiply what attention and MLP give, and that have no module of the MLP, behind a reshape.
OF_SITES = {
    "granite": ("GraniteConfig", _GROUPED | {"residual_multiplier": 0.22}),
    "opt": ("OPTConfig", {"ffn_dim": 48}),
}

# A family that is a parent of transfers, with norms before and behind what is added and large embeddings.
PARENTS = {"gemma3": ("Gemma3TextConfig", _GROUPED | {"head_dim": 8, "sliding_window": 16})}

# Families with an encoder, some of another depth than the decoder.
ENCODER_DECODERS = {
    "t5": (
        "T5Config",
        {"d_model": WIDTH, "d_kv": 8, "d_ff": 48, "num_heads": 4, "num_layers": DEPTH}
        | {"decoder_start_token_id": 258},
    ),
    "bart": (
        "BartConfig",
        {"d_model": WIDTH, "encoder_layers": 2, "decoder_layers": DEPTH, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48}
        | {"encoder_attention_heads": 4, "decoder_attention_heads": 4, "decoder_start_token_id": 257}
        | {"max_position_embeddings": 2048, "forced_eos_token_id": None},
    ),
    "t5gemma": ("T5GemmaConfig", {"decoder_start_token_id": 256}),
}
_TOKENS = {name: COMMON[name] for name in ("vocab_size", "bos_token_id", "eos_token_id", "pad_token_id")}


def make_config(family: str, **changes: object) -> transformers.PretrainedConfig:
    """Configuration of a tiny model."""
    if family in ENCODER_DECODERS:
        name, own = ENCODER_DECODERS[family]
        config = getattr(transformers, name)(**(_TOKENS | own | changes))
        if family == "t5gemma":
            for side, depth in ((config.encoder, 2), (config.decoder, DEPTH)):
                side.update(COMMON | _GROUPED | {"head_dim": 8, "num_hidden_layers": depth, "sliding_window": 16})
                side.layer_types = ["sliding_attention", "full_attention", "sliding_attention"][:depth]
            config.decoder.cross_attention_hidden_size = WIDTH
        return config
    name, own = (FAMILIES | OTHERS | ON_VLLM | OF_SITES | PARENTS)[family]
    return getattr(transformers, name)(**(COMMON | own | changes))


def make_model(family: str, seed: int = 0, **changes: object) -> transformers.PreTrainedModel:
    """A tiny random model in float32, spread widely enough that its greedy text is not one repeated token."""
    torch.manual_seed(seed)
    kind = transformers.AutoModelForSeq2SeqLM if family in ENCODER_DECODERS else transformers.AutoModelForCausalLM
    model = kind.from_config(make_config(family, **changes)).eval()
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.25)
    model.generation_config.pad_token_id = 258
    return model


def make_tokenizer(chat_template: str | None = None) -> transformers.PreTrainedTokenizerFast:
    """A byte tokenizer: every text is tokens and back."""
    vocabulary = {character: i for i, character in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>", model_max_length=2048
    )
    fast.chat_template = chat_template
    return fast


def save_model(folder: Path, family: str, chat_template: str | None = None, **changes: object) -> Path:
    """A tiny model as a Hugging Face folder."""
    make_model(family, **changes).save_pretrained(folder)
    make_tokenizer(chat_template).save_pretrained(folder)
    return folder
