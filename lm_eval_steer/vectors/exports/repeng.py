"""repeng: a control vector in GGUF, its directions added at the outputs of their blocks."""

from __future__ import annotations

from pathlib import Path

from lm_eval_steer.vectors.exports.control_vector import write_control_vector
from lm_eval_steer.vectors.exports.export import Export
from lm_eval_steer.vectors.exports.format import ExportFormat


def write(export: Export, path: Path) -> None:
    """Directions from the last block to the first, as repeng writes them."""
    write_control_vector(export, path, reversed(export.shifts))


REPENG = ExportFormat(
    "a control vector of repeng",
    ".gguf",
    write,
    "positions and operator, which are given where it is used",
    "ControlModel(model, layer_ids).set_control(ControlVector.import_gguf({path!r}), {alpha})",
)
