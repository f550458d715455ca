"""Block outputs at the last real token of many texts, without keeping anything else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm
from transformers import PreTrainedModel
from transformers.cache_utils import Cache

from lm_eval_steer.engine.memory import bytes_to_keep
from lm_eval_steer.engine.prefix import Prefixes, run_prefix
from lm_eval_steer.engine.probes import continues_from_cache, mixes_tokens
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.steering.blocks import base_model, decoder


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
    A model that quantises the tokens of a pass together is given one whole text at a time.

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
    body = decoder(model)
    prefixes = Prefixes(partial(bytes_to_keep, device))
    alone = mixes_tokens(base_model(model), device)
    batch_size = 1 if alone else batch_size
    if not alone and continues_from_cache(body, device):
        prefixes.learn(tokens for tokens, _, _ in texts)
    differences: np.ndarray | None = None
    norms = np.zeros(len(blocks), dtype=np.float64)
    with torch.no_grad(), tqdm(total=len(texts), desc="Reading block outputs", unit="text") as progress:
        for start in range(0, len(texts), batch_size):
            batch = texts[start : start + batch_size]
            outputs = _last_outputs(body, blocks, [tokens for tokens, _, _ in batch], prefixes, device)
            if differences is None:
                differences = np.zeros((len(pairs), len(blocks), outputs.shape[2]), dtype=np.float32)
            for output, (_, pair, sign) in zip(outputs, batch, strict=True):
                differences[pair] += sign * output
            norms += np.linalg.norm(outputs, axis=-1).sum(axis=0)
            progress.update(len(batch))
    if differences is None:
        raise SteeringError("there are no pairs to read")
    return differences, (norms / len(texts)).astype(np.float32)


def _last_outputs(
    body: PreTrainedModel,
    blocks: Mapping[int, nn.Module],
    sequences: Sequence[list[int]],
    prefixes: Prefixes,
    device: torch.device,
) -> np.ndarray:
    """Outputs [rows, blocks, hidden] at the last token of each sequence.

    Rows are padded on the right, where a causal model does not look, so no attention mask is needed.
    """

    def run(tokens: Sequence[int], rows: Sequence[int]) -> Cache | None:
        return run_prefix(body, tokens, len(rows), device)

    start, cache = prefixes.prepare(body, sequences, [0] * len(sequences), run)  # nothing is steered here
    own = [torch.tensor(tokens[start:]) for tokens in sequences]
    last = torch.tensor([len(tokens) - 1 for tokens in own])
    ids = torch.nn.utils.rnn.pad_sequence(own, batch_first=True)
    captured: dict[int, Tensor] = {}

    def hook(block: int) -> Any:
        def read(module: nn.Module, args: Any, output: Any) -> None:
            hidden = output[0] if isinstance(output, (tuple, list)) else output
            if hidden.dim() != 3 or hidden.shape[:2] != ids.shape:
                raise SteeringError(
                    f"block {block} ({type(module).__name__}) returns {list(hidden.shape)}, expected "
                    f"{[*ids.shape, 'hidden']}: set blocks= in --model_args to the list of decoder blocks"
                )
            rows = torch.arange(len(hidden), device=hidden.device)
            captured[block] = hidden[rows, last.to(hidden.device)].float().cpu()

        return read

    with ExitStack() as stack:
        for block, module in blocks.items():
            stack.callback(module.register_forward_hook(hook(block)).remove)
        body(input_ids=ids.to(device), use_cache=bool(cache), **cache)
    return torch.stack([captured[block] for block in blocks], dim=1).numpy()
