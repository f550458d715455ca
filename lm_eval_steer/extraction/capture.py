"""What is at sites of a model at chosen tokens of many texts, without keeping anything else."""

from __future__ import annotations

import logging
import sys
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size
from torch import Tensor, nn
from tqdm import tqdm
from transformers import PreTrainedModel
from transformers.cache_utils import Cache

from lm_eval_steer.engines.hf.anchors import Anchor
from lm_eval_steer.engines.hf.blocks import base_model, decoder
from lm_eval_steer.engines.hf.memory import bytes_to_keep
from lm_eval_steer.engines.hf.prefix import WORTHWHILE, Prefixes, run_prefix, shared_length
from lm_eval_steer.engines.hf.probes import continues_from_cache, mixes_tokens
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.models.batches import bounded
from lm_eval_steer.sites import DEFAULT, Place, split, told

logger = logging.getLogger(f"lm_eval.{__name__}")


AUTO_ROWS, AUTO_TOKENS, AUTO_TOKENS_ON_CPU = 64, 4096, 1024
"""The most of a batch whose size is `auto`: a run that goes on has the same batches, whatever memory is free then."""


@dataclass(frozen=True)
class Captured:
    """What was read at the last tokens of pairs.

    Attributes:
        differences: positive minus negative, float32 [pairs, blocks, hidden], or [pairs, blocks, heads, head_dim].
        sums: positive plus negative, likewise.
        norms: mean ‖h‖ over all texts, float32 [blocks] or [blocks, heads].
    """

    differences: np.ndarray
    sums: np.ndarray
    norms: np.ndarray

    def projections(self, place: int, direction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """⟨h, v⟩ of the negative and of the positive side of every pair, float64 [pairs] or [pairs, heads].

        Args:
            place: of a block among those that were read.
            direction: v [hidden] or [heads, head_dim].
        """
        v = direction.astype(np.float64)
        middle, half = ((one[:, place] * v).sum(axis=-1) / 2 for one in (self.sums, self.differences))
        return middle - half, middle + half


def capture_pairs(
    model: nn.Module,
    blocks: Mapping[int, nn.Module],
    pairs: Sequence[tuple[list[int], list[int]]],
    batch_size: int,
    device: torch.device,
) -> Captured:
    """Block outputs at the last token of each side of each pair: `capture_sites` of `block`.

    Args:
        blocks: which blocks to read.
    """
    anchors: dict[Place, Anchor] = {block: Anchor(module) for block, module in blocks.items()}
    return capture_sites(model, anchors, pairs, batch_size, device)[DEFAULT]


def capture_sites(
    model: nn.Module,
    anchors: Mapping[Place, Anchor],
    pairs: Sequence[tuple[list[int], list[int]]],
    batch_size: int,
    device: torch.device,
) -> dict[str, Captured]:
    """What is at places at the last token of each side of each pair, in two times pairs x places x hidden numbers.

    Args:
        model: a transformers model; its head is not run.
        anchors: what to read.
        pairs: token ids of (positive, negative).
        batch_size: texts per forward pass.
        device: where the token ids go.

    Returns:
        site -> what was read there, places by number.

    Raises:
        SteeringError: for a text without tokens, a block whose output is no residual stream or that never runs, and
            memory that does not hold a single text.
    """
    if empty := [pair for pair, sides in enumerate(pairs) if not all(sides)]:
        raise SteeringError(f"pair {empty[0]} holds a text without tokens")
    texts = [tokens for sides in pairs for tokens in sides]
    by_site: dict[str, list[Place]] = {}
    for place in anchors:
        by_site.setdefault(split(place)[0], []).append(place)
    found: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}
    last = [[len(tokens) - 1] for tokens in texts]
    sides = _sides_apart(pairs)
    for numbers, read in read_places(model, anchors, texts, last, batch_size, device, groups=sides):
        for site, places in by_site.items():
            outputs = np.stack([read[place] for place in places], axis=1)  # [rows, blocks, hidden]
            if site not in found:
                differences, sums = np.zeros((2, len(pairs), *outputs.shape[1:]), dtype=np.float32)
                found[site] = differences, sums, np.zeros(outputs.shape[1:-1], dtype=np.float64)
            differences, sums, norms = found[site]
            for number, output in zip(numbers, outputs, strict=True):
                differences[number // 2] += -output if number % 2 else output
                sums[number // 2] += output
            norms += np.linalg.norm(outputs, axis=-1).sum(axis=0)
    if not found:
        raise SteeringError("there are no pairs to read")
    return {
        site: Captured(differences, sums, (norms / len(texts)).astype(np.float32))
        for site, (differences, sums, norms) in found.items()
    }


def _sides_apart(pairs: Sequence[tuple[list[int], list[int]]]) -> list[int] | None:
    """The side of each text, where those of a side share a beginning that is worth a run of its own beyond what all
    share (examples that are worked on one side and bare on the other); None elsewhere."""
    common = shared_length([tokens for sides in pairs for tokens in sides])
    alike = [shared_length(side) for side in zip(*pairs, strict=True)] if pairs else []
    return [0, 1] * len(pairs) if len(pairs) > 1 and max(alike) >= common + WORTHWHILE else None


def in_order(texts: Sequence[Sequence[int]]) -> list[int]:
    """Numbers of texts in the order in which `read_outputs` reads them: the longest first, so that a batch holds next
    to no padding and the first one shows whether memory suffices."""
    return sorted(range(len(texts)), key=lambda number: -len(texts[number]))


def read_outputs(
    model: nn.Module,
    blocks: Mapping[int, nn.Module],
    texts: Sequence[list[int]],
    places: Sequence[Sequence[int]],
    batch_size: int | Literal["auto"],
    device: torch.device,
    *,
    mean: bool = False,
    done: int = 0,
    groups: Sequence[int] | None = None,
) -> Iterator[tuple[list[int], np.ndarray]]:
    """Block outputs at some tokens of each text, a batch at a time: `read_places` of blocks.

    Args:
        blocks: which blocks to read.

    Yields:
        numbers of the texts of a batch, and outputs float32 [rows, blocks, hidden].
    """
    anchors: dict[Place, Anchor] = {block: Anchor(module) for block, module in blocks.items()}
    reading = read_places(model, anchors, texts, places, batch_size, device, mean=mean, done=done, groups=groups)
    for numbers, read in reading:
        yield numbers, np.stack(list(read.values()), axis=1)


def read_places(
    model: nn.Module,
    anchors: Mapping[Place, Anchor],
    texts: Sequence[list[int]],
    places: Sequence[Sequence[int]],
    batch_size: int | Literal["auto"],
    device: torch.device,
    *,
    mean: bool = False,
    done: int = 0,
    groups: Sequence[int] | None = None,
) -> Iterator[tuple[list[int], dict[Place, np.ndarray]]]:
    """What is at places of a model at some tokens of each text, a batch at a time.

    What all texts of a group begin with (system prompt, examples), in front of what is read of them, is run once and
    reused through the KV cache. A model that quantises the tokens of a pass together is given one whole text at a time.
    A batch that memory does not hold is cut in two, and so are those behind it.

    Args:
        model: a transformers model; its head is not run.
        anchors: what to read.
        texts: token ids, none empty.
        places: the positions to read of each text, ascending, at least one.
        batch_size: texts per forward pass; `auto` for as many as make a pass worth its while.
        device: where the token ids go.
        mean: give the mean over the positions of a text.
        done: how many texts, in the order of `in_order`, need not be read any more. The batches behind them are those
            of a run from the beginning if that number is the end of one.
        groups: the group of each text; texts of one are read one after the other. None where all are one.

    Yields:
        numbers of the texts of a batch, which follow the order of `in_order`, and what was read, float32 [rows,
        hidden] or [rows, heads, head_dim]: of each text in turn a row per position, or one with `mean`.

    Raises:
        SteeringError: for a block whose output is no residual stream or that never runs, and memory that does not hold
            a single text.
    """
    body = decoder(model)
    alone = mixes_tokens(base_model(model), device)
    shares = not alone and continues_from_cache(body, device)
    todo = in_order(texts)[done:]
    work: deque[list[int]] = deque()
    prefixes: dict[int, Prefixes] = {}
    limit = (AUTO_TOKENS_ON_CPU if device.type == "cpu" else AUTO_TOKENS) if batch_size == "auto" else sys.maxsize
    most = AUTO_ROWS if batch_size == "auto" else batch_size
    of = groups or [0] * len(texts)
    for group in dict.fromkeys(of):
        prefixes[group] = Prefixes(partial(bytes_to_keep, device))
        if shares:
            members = (number for number in range(len(texts)) if of[number] == group)
            prefixes[group].learn(texts[number][: places[number][0] + 1] for number in members)
        rows = [number for number in todo if of[number] == group]
        cuts = bounded([len(texts[number]) for number in rows], 1, limit, 1 if alone else most)
        work.extend([rows[place] for place in cut] for cut in cuts)
    with tqdm(total=len(texts), initial=done, desc="Reading block outputs", unit="text") as progress:
        while work:
            batch = work.popleft()
            try:
                outputs = _read(
                    body,
                    anchors,
                    [texts[one] for one in batch],
                    [places[one] for one in batch],
                    prefixes[of[batch[0]]],
                    device,
                    mean,
                )
            except RuntimeError as error:
                if not (isinstance(error, torch.OutOfMemoryError) or should_reduce_batch_size(error)):
                    raise
                if len(batch) == 1:
                    raise SteeringError(
                        f"memory does not hold a single text of {len(texts[batch[0]])} tokens beside the model: use a "
                        "smaller dtype, or spread the model with parallelize=True"
                    ) from None
                clear_device_cache()
                half = (len(batch) + 1) // 2
                logger.warning("Memory does not hold %d texts: going on with %d at a time", len(batch), half)
                work = deque(part for one in (batch, *work) for part in _cut(one, half))
                continue
            yield batch, outputs
            progress.update(len(batch))


def _cut(numbers: list[int], size: int) -> list[list[int]]:
    return [numbers[start : start + size] for start in range(0, len(numbers), size)]


@torch.no_grad()
def _read(
    body: PreTrainedModel,
    anchors: Mapping[Place, Anchor],
    sequences: Sequence[list[int]],
    places: Sequence[Sequence[int]],
    prefixes: Prefixes,
    device: torch.device,
    mean: bool,
) -> dict[Place, np.ndarray]:
    """What is at places, [rows, hidden] each, of one batch.

    Rows are padded on the right, where a causal model does not look, so no attention mask is needed.
    """

    def run(tokens: Sequence[int], rows: Sequence[int]) -> Cache | None:
        return run_prefix(body, tokens, len(rows), device)

    start, cache = prefixes.prepare(body, sequences, [0] * len(sequences), run)  # nothing is steered here
    ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(tokens[start:]) for tokens in sequences], batch_first=True)
    counts = torch.tensor([len(one) for one in places])
    rows = torch.arange(len(sequences)).repeat_interleave(counts)
    columns = torch.tensor([place - start for one in places for place in one])
    captured: dict[Place, Tensor] = {}

    def reader(place: Place, anchor: Anchor) -> Any:
        def read(module: nn.Module, hidden: Any) -> None:
            if anchor.joined and torch.is_tensor(hidden) and hidden.shape[0] == ids.numel():
                hidden = hidden.unflatten(0, ids.shape)
            wanted = 3 if anchor.heads is None else 4
            if not torch.is_tensor(hidden) or hidden.dim() != wanted or hidden.shape[:2] != ids.shape:
                got = list(hidden.shape) if torch.is_tensor(hidden) else type(hidden).__name__
                raise SteeringError(
                    f"{told(place)} ({type(module).__name__}) returns {got}, expected "
                    f"{[*ids.shape, 'hidden']}: set blocks= in --model_args to the list of decoder blocks"
                )
            found = hidden[rows.to(hidden.device), columns.to(hidden.device)]
            captured[place] = _means(found, counts.tolist()) if mean else found

        return read

    with ExitStack() as stack:
        for place, anchor in anchors.items():
            stack.callback(anchor.hook(reader(place, anchor)).remove)
        body(input_ids=ids.to(device), use_cache=bool(cache), **cache)
    for place, anchor in anchors.items():
        if place not in captured:
            raise SteeringError(
                f"{told(place)} ({type(anchor.module).__name__}) did not run when the model read a text, so there is "
                "no direction for it: leave it out with --layers, or set blocks= in --model_args to the blocks that run"
            )
    return {place: captured[place].cpu().float().numpy() for place in anchors}


def _means(read: Tensor, counts: list[int]) -> Tensor:
    """The means of as many rows in turn [counts, hidden]."""
    return torch.stack([part.float().mean(dim=0) for part in read.split(counts)])
