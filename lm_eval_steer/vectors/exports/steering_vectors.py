"""steering-vectors: what its SteeringVector takes, a table of block and tensor; it has no file of its own."""

from __future__ import annotations

from pathlib import Path

from lm_eval_steer.vectors.exports.export import Export
from lm_eval_steer.vectors.exports.format import ExportFormat
from lm_eval_steer.vectors.exports.torch_file import save, tensor


def write(export: Export, path: Path) -> None:
    """Block -> tensor [hidden]."""
    save({block: tensor(shift) for block, shift in export.shifts.items()}, path)


STEERING_VECTORS = ExportFormat(
    "layer_activations of steering-vectors",
    ".pt",
    write,
    "the passport, and positions, which are given where it is used",
    "SteeringVector(torch.load({path!r})).apply(model, multiplier={alpha})",
)
