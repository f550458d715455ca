"""How many rows a batch may have under `batch_size=auto`: from the free memory and what a row was seen to take."""

from __future__ import annotations

from pathlib import Path

import psutil
import torch

from lm_eval_steer.engines.hf.child import Child
from lm_eval_steer.engines.hf.prefix import run_prefix, takes_positions

SHARE = 0.5
"""Of the free memory: the rest is for what the blocks compute on the way, and for others."""
KEPT = 0.25
"""Of the memory that is free without them: what beginnings that prompts share may take."""
COPIES = 2
"""A cache that grows or loses rows exists twice for a moment; so do logits beside their log-probabilities."""
_SEEN = 16
"""Positions of the row that is measured."""


def rows_that_fit(child: Child, each: float, positions: int, read: int) -> int:
    """Rows of a batch, one at least and `max_rows` of the child at most.

    Args:
        child: the model.
        each: bytes that the keys and values of a position take.
        positions: tokens of the longest row, with those that it may write.
        read: positions of a row whose logits are computed at once.
    """
    vocabulary = int(child.base.config.get_text_config().vocab_size)
    row = COPIES * (positions * each + read * vocabulary * torch.float32.itemsize)
    return max(1, min(child.max_rows, int(SHARE * free_bytes(child.device) / row)))


@torch.no_grad()
def bytes_per_position(child: Child) -> float:
    """What the keys and values of one position take, measured on a short row; 0 for a model that keeps other state."""
    model = child.base
    cache = run_prefix(model, [0] * _SEEN, 1, child.device) if takes_positions(model) else None
    if cache is None:
        return 0.0
    held = (getattr(layer, name, None) for layer in cache.layers for name in ("keys", "values"))
    return sum(states.nbytes for states in held if states is not None) / _SEEN


def bytes_to_keep(device: torch.device, held: int) -> int:
    """What beginnings that prompts share may take, of which there are `held` bytes now."""
    return int(KEPT * (free_bytes(device) + held))


def free_bytes(device: torch.device) -> int:
    """Free memory of a device; on a CPU also within the limit of the container."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + unused
    return min(psutil.virtual_memory().available, _left_in_container(Path("/sys/fs/cgroup")))


def _left_in_container(group: Path) -> int:
    """What the limit of a control group (v2) leaves; without a limit, no end of it."""
    try:
        limit = int((group / "memory.max").read_text())  # "max" where there is none
        used = int((group / "memory.current").read_text())
        states = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return 2**63
    return max(0, limit - used + int(states.get("inactive_file", 0)))  # pages of files make room
