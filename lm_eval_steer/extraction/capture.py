"""Block outputs at the last real token of many texts, without keeping anything else."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm
from transformers import PreTrainedModel
from transformers.cache_utils import Cache, DynamicCache

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.steering.blocks import base_model


def capture_differences(
    model: nn.Module,
    blocks: Mapping[int, nn.Module],
    pairs: Sequence[tuple[list[int], list[int]]],
    batch_size: int,
    device: torch.device,
) -> tuple[np.ndarray, np.ndarray]:
    """Positive minus negative block output at the last token of each pair.

    What all texts begin with (the system prompt) is run once and reused through the KV cache. Texts are run in order
    of length, so a batch holds next to no padding; only the differences are kept, in pairs x blocks x hidden numbers.

    Args:
        model: a transformers model; its head is not run.
        blocks: which blocks to read.
        pairs: token ids of (positive, negative).
        batch_size: texts per forward pass.
        device: where the token ids go.

    Returns:
        differences: float32 [pairs, blocks, hidden].
        norms: float32 [blocks], mean ‖h‖ over all texts.
    """
    texts = [
        (tokens, pair, sign) for pair, sides in enumerate(pairs) for tokens, sign in zip(sides, (1, -1), strict=True)
    ]
    if empty := [pair for tokens, pair, _ in texts if not tokens]:
        raise SteeringError(f"pair {empty[0]} holds a text without tokens")
    texts.sort(key=lambda text: -len(text[0]))
    # Without its head: the logits of every position would dwarf everything else.
    decoder = cast(PreTrainedModel, cast(PreTrainedModel, base_model(model)).base_model)
    prefix = _run_prefix(decoder, [tokens for tokens, _, _ in texts], device)
    differences: np.ndarray | None = None
    norms = np.zeros(len(blocks), dtype=np.float64)
    with tqdm(total=len(texts), desc="Reading block outputs", unit="text") as progress:
        for start in range(0, len(texts), batch_size):
            batch = texts[start : start + batch_size]
            outputs = _last_outputs(decoder, blocks, [tokens for tokens, _, _ in batch], prefix, device)
            if differences is None:
                differences = np.zeros((len(pairs), len(blocks), outputs.shape[2]), dtype=np.float32)
            for output, (_, pair, sign) in zip(outputs, batch, strict=True):
                differences[pair] += sign * output
            norms += np.linalg.norm(outputs, axis=-1).sum(axis=0)
            progress.update(len(batch))
    if differences is None:
        raise SteeringError("there are no pairs to read")
    return differences, (norms / len(texts)).astype(np.float32)


@torch.inference_mode()
def _run_prefix(decoder: PreTrainedModel, sequences: Sequence[list[int]], device: torch.device) -> Cache:
    """The KV cache [1 row] of what all sequences begin with, each keeping one token at least of its own.

    It is empty where they share nothing, and for a model that keeps its state elsewhere.
    """
    shortest, longest = min(sequences), max(sequences)
    shared = next((i for i, (a, b) in enumerate(zip(shortest, longest, strict=False)) if a != b), len(shortest))
    shared = min(shared, *(len(tokens) - 1 for tokens in sequences))
    cache = DynamicCache(config=decoder.config)
    if shared:
        ids = torch.tensor([sequences[0][:shared]], device=device)
        decoder(input_ids=ids, use_cache=True, **{_cache_keyword(decoder): cache})
    return cache if cache.get_seq_length() == shared else DynamicCache(config=decoder.config)


def _cache_keyword(decoder: PreTrainedModel) -> str:
    """transformers 5.20 renamed the argument."""
    return "cache" if "cache" in inspect.signature(decoder.forward).parameters else "past_key_values"


@torch.inference_mode()
def _last_outputs(
    decoder: PreTrainedModel,
    blocks: Mapping[int, nn.Module],
    sequences: Sequence[list[int]],
    prefix: Cache,
    device: torch.device,
) -> np.ndarray:
    """Outputs [rows, blocks, hidden] at the last token of each sequence.

    Rows are padded on the right, where a causal model does not look, so no attention mask is needed.
    """
    start = prefix.get_seq_length()
    own = [torch.tensor(tokens[start:]) for tokens in sequences]
    last = torch.tensor([len(tokens) - 1 for tokens in own])
    ids = torch.nn.utils.rnn.pad_sequence(own, batch_first=True)
    captured: dict[int, Tensor] = {}

    def hook(block: int) -> Any:
        def read(module: nn.Module, args: Any, output: Any) -> None:
            hidden = output[0] if isinstance(output, tuple) else output
            if hidden.dim() != 3 or hidden.shape[:2] != ids.shape:
                raise SteeringError(
                    f"block {block} ({type(module).__name__}) returns {list(hidden.shape)}, expected "
                    f"{[*ids.shape, 'hidden']}: set blocks= in --model_args to the list of decoder blocks"
                )
            rows = torch.arange(len(hidden), device=hidden.device)
            captured[block] = hidden[rows, last.to(hidden.device)].float().cpu()

        return read

    cache = copy.deepcopy(prefix)
    cache.batch_repeat_interleave(len(sequences))
    with ExitStack() as stack:
        for block, module in blocks.items():
            stack.callback(module.register_forward_hook(hook(block)).remove)
        decoder(input_ids=ids.to(device), use_cache=True, **{_cache_keyword(decoder): cache})
    return torch.stack([captured[block] for block in blocks], dim=1).numpy()
