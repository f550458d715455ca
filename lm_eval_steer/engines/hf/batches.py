"""Work in batches: of like size, and halved where memory does not hold them."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from typing import TypeVar

import torch
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size

from lm_eval_steer.errors import SteeringError

logger = logging.getLogger(f"lm_eval.{__name__}")

T = TypeVar("T")


def cut(rows: Sequence[T], size: int) -> list[list[T]]:
    """Parts of `size` rows, the last of which may be shorter."""
    return [list(rows[start : start + size]) for start in range(0, len(rows), size)]


def share_out(rows: Sequence[T], size: int) -> list[list[T]]:
    """Parts of at most `size` rows, of like size: a small last one takes as long as the others."""
    return cut(rows, -(-len(rows) // -(-len(rows) // size)))


def run_in_batches(
    batches: Sequence[list[int]],
    run: Callable[[list[int]], Generator[tuple[int, list[T]], None, None]],
    short: Callable[[], None],
) -> Iterator[T]:
    """What comes of the rows of batches.

    Args:
        batches: numbers of rows.
        run: runs a batch, and gives each row that is done, with all that is whole with it.
        short: called where memory does not hold a batch; its rows that are not done, and all that follow, are run in
            batches of half as many.

    Raises:
        SteeringError: where memory does not hold a single row.
    """
    work = deque(batches)
    while work:
        batch, done = work.popleft(), set[int]()
        holds = True
        try:
            with closing(run(batch)) as running:
                for row, came in running:
                    done.add(row)
                    yield from came
        except RuntimeError as error:
            if not (isinstance(error, torch.OutOfMemoryError) or should_reduce_batch_size(error)):
                raise
            holds = False
        if holds:  # else the error, which holds tensors of the batch, is gone by now
            continue
        if len(batch) == 1:
            raise SteeringError(
                "the device's memory does not hold a single row of this run: use a smaller dtype, or spread the model "
                "with parallelize=True"
            )
        short()
        clear_device_cache()
        half = (len(batch) + 1) // 2
        logger.warning("Memory does not hold %d rows: going on with %d at a time", len(batch), half)
        rest = [row for row in batch if row not in done]
        work = deque(part for one in (rest, *work) for part in cut(one, half))
