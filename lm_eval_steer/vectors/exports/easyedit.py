"""EasyEdit: a folder `caa_vector` with a tensor for each block."""

from __future__ import annotations

from pathlib import Path

from lm_eval_steer.vectors.exports.export import Export
from lm_eval_steer.vectors.exports.format import ExportFormat
from lm_eval_steer.vectors.exports.torch_file import save, tensor

FOLDER = "caa_vector"
"""Which of EasyEdit's methods a tensor is of, its folder alone says."""


def write(export: Export, path: Path) -> None:
    """caa_vector/layer_N.pt, tensor [hidden]."""
    (path / FOLDER).mkdir()
    for block, shift in export.shifts.items():
        save(tensor(shift), path / FOLDER / f"layer_{block}.pt")


EASYEDIT = ExportFormat(
    "a folder of EasyEdit (CAA)",
    "",
    write,
    "everything but the numbers and the block; layers and multipliers stand in its YAML",
    "steer_vector_load_dir: {path}/caa_vector, layers: [...], multipliers: [{alpha}, ...]",
)
