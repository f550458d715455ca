"""UNLOCK: a tensor with a row for each block."""

from __future__ import annotations

from pathlib import Path

from lm_eval_steer.vectors.exports.export import Export
from lm_eval_steer.vectors.exports.format import ExportFormat
from lm_eval_steer.vectors.exports.torch_file import save, tensor


def write(export: Export, path: Path) -> None:
    """Tensor [blocks, hidden], zeros where nothing is steered."""
    save(tensor(export.table()), path)


UNLOCK = ExportFormat(
    "a bare tensor [blocks, hidden], as UNLOCK has it",
    ".pth",
    write,
    "everything but the numbers",
    "torch.load({path!r})[L]  # row L is added at the output of block L, {alpha} times",
)
