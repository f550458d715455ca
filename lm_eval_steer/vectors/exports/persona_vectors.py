"""persona vectors: a tensor whose row k is the output of block k-1, and row 0 the embeddings."""

from __future__ import annotations

from pathlib import Path

from lm_eval_steer.vectors.exports.export import Export
from lm_eval_steer.vectors.exports.format import ExportFormat
from lm_eval_steer.vectors.exports.torch_file import save, tensor


def write(export: Export, path: Path) -> None:
    """Tensor [1 + blocks, hidden], zeros where nothing is steered."""
    save(tensor(export.table(before=1)), path)


PERSONA_VECTORS = ExportFormat(
    "a persona vector",
    ".pt",
    write,
    "everything but the numbers; it is used one layer at a time, layer L being block L-1",
    "ActivationSteerer(model, torch.load({path!r})[L], coeff={alpha}, layer_idx=L-1)",
)
