"""Says so where a CPU has no instructions for the model's dtype, and everything takes a hundred times as long."""

from __future__ import annotations

import logging
import time

import torch

logger = logging.getLogger(f"lm_eval.{__name__}")

TELLING = 4.0
"""A dtype of half the bytes that takes so many times as long as float32 is not worth its bytes."""
_SIZE = 256


def slowdown(dtype: torch.dtype) -> float:
    """How many times as long as in float32 a product of two [256, 256] matrices takes on this CPU."""
    times = []
    for kind in (dtype, torch.float32):
        matrix = torch.ones(_SIZE, _SIZE, dtype=kind)
        runs = []
        for _ in range(3):
            start = time.perf_counter()
            matrix @ matrix
            runs.append(time.perf_counter() - start)
        times.append(min(runs))
    return times[0] / times[1]


def warn_of_slow_dtype(dtype: torch.dtype, device: torch.device) -> None:
    """Log a warning where a model of this dtype on this device had better be in float32."""
    if device.type != "cpu" or dtype not in (torch.bfloat16, torch.float16):
        return
    times = slowdown(dtype)
    if times >= TELLING:
        logger.warning(
            "%s takes %.0f times as long as float32 on this CPU, which has no instructions for it: add dtype=float32 "
            "to model_args",
            *(str(dtype).removeprefix("torch."), times),
        )
