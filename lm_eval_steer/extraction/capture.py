"""Block outputs at the last real token of many texts, without keeping anything else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

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

    Texts are run in order of length, so a batch holds next to no padding; only the differences are kept, in
    pairs x blocks x hidden numbers.

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
    differences: np.ndarray | None = None
    norms = np.zeros(len(blocks), dtype=np.float64)
    with tqdm(total=len(texts), desc="Reading block outputs", unit="text") as progress:
        for start in range(0, len(texts), batch_size):
            batch = texts[start : start + batch_size]
            outputs = _last_outputs(model, blocks, [tokens for tokens, _, _ in batch], device)
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
def _last_outputs(
    model: nn.Module, blocks: Mapping[int, nn.Module], sequences: Sequence[list[int]], device: torch.device
) -> np.ndarray:
    """Outputs [rows, blocks, hidden] at the last token of each sequence, padded on the right."""
    lengths = torch.tensor([len(tokens) for tokens in sequences])
    ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(tokens) for tokens in sequences], batch_first=True)
    mask = torch.arange(ids.shape[1]) < lengths[:, None]
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
            captured[block] = hidden[rows, (lengths - 1).to(hidden.device)].float().cpu()

        return read

    with ExitStack() as stack:
        for block, module in blocks.items():
            stack.callback(module.register_forward_hook(hook(block)).remove)
        # The transformers model without its head: the logits of every position would dwarf everything else.
        decoder = base_model(model).base_model
        decoder(input_ids=ids.to(device), attention_mask=mask.long().to(device), use_cache=False)
    return torch.stack([captured[block] for block in blocks], dim=1).numpy()
