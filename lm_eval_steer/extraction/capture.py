"""Block outputs at the last real token of many texts, without keeping anything else."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

import numpy as np
import torch
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size
from torch import Tensor, nn
from tqdm import tqdm
from transformers import PreTrainedModel
from transformers.cache_utils import Cache

from lm_eval_steer.engines.hf.blocks import base_model, decoder
from lm_eval_steer.engines.hf.memory import bytes_to_keep
from lm_eval_steer.engines.hf.prefix import Prefixes, run_prefix
from lm_eval_steer.engines.hf.probes import continues_from_cache, mixes_tokens
from lm_eval_steer.errors import SteeringError

logger = logging.getLogger(f"lm_eval.{__name__}")


Text = tuple[list[int], int, int]
"""Token ids, number of the pair, +1 for its positive side and -1 for the other."""


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
    A batch that memory does not hold is cut in two, and so are those behind it.

    Args:
        model: a transformers model; its head is not run.
        blocks: which blocks to read.
        pairs: token ids of (positive, negative).
        batch_size: texts per forward pass.
        device: where the token ids go.

    Returns:
        differences: float32 [pairs, blocks, hidden].
        norms: float32 [blocks], mean ‖h‖ over all texts.

    Raises:
        SteeringError: for a text without tokens, a block whose output is no residual stream or that never runs, and
            memory that does not hold a single text.
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
        work = deque(_cut(texts, batch_size))
        while work:
            batch = work.popleft()
            try:
                outputs = _last_outputs(body, blocks, [tokens for tokens, _, _ in batch], prefixes, device)
            except RuntimeError as error:
                if not (isinstance(error, torch.OutOfMemoryError) or should_reduce_batch_size(error)):
                    raise
                if len(batch) == 1:
                    raise SteeringError(
                        f"memory does not hold a single text of {len(batch[0][0])} tokens beside the model: use a "
                        "smaller dtype, or spread the model with parallelize=True"
                    ) from None
                clear_device_cache()
                half = (len(batch) + 1) // 2
                logger.warning("Memory does not hold %d texts: going on with %d at a time", len(batch), half)
                work = deque(part for one in (batch, *work) for part in _cut(one, half))
                continue
            if differences is None:
                differences = np.zeros((len(pairs), len(blocks), outputs.shape[2]), dtype=np.float32)
            for output, (_, pair, sign) in zip(outputs, batch, strict=True):
                differences[pair] += sign * output
            norms += np.linalg.norm(outputs, axis=-1).sum(axis=0)
            progress.update(len(batch))
    if differences is None:
        raise SteeringError("there are no pairs to read")
    return differences, (norms / len(texts)).astype(np.float32)


def _cut(texts: list[Text], size: int) -> list[list[Text]]:
    return [texts[start : start + size] for start in range(0, len(texts), size)]


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
            if not torch.is_tensor(hidden) or hidden.dim() != 3 or hidden.shape[:2] != ids.shape:
                got = list(hidden.shape) if torch.is_tensor(hidden) else type(hidden).__name__
                raise SteeringError(
                    f"block {block} ({type(module).__name__}) returns {got}, expected "
                    f"{[*ids.shape, 'hidden']}: set blocks= in --model_args to the list of decoder blocks"
                )
            rows = torch.arange(len(hidden), device=hidden.device)
            captured[block] = hidden[rows, last.to(hidden.device)].float().cpu()

        return read

    with ExitStack() as stack:
        for block, module in blocks.items():
            stack.callback(module.register_forward_hook(hook(block)).remove)
        body(input_ids=ids.to(device), use_cache=bool(cache), **cache)
    for block, module in blocks.items():
        if block not in captured:
            raise SteeringError(
                f"block {block} ({type(module).__name__}) did not run when the model read a text, so there is no "
                "direction for it: leave it out with --layers, or set blocks= in --model_args to the blocks that run"
            )
    return torch.stack([captured[block] for block in blocks], dim=1).numpy()
