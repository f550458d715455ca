"""EasySteer: a control vector in GGUF that says its method."""

from __future__ import annotations

from pathlib import Path

from lm_eval_steer.vectors.exports.control_vector import ARCHITECTURE, write_control_vector
from lm_eval_steer.vectors.exports.export import Export
from lm_eval_steer.vectors.exports.format import ExportFormat


def write(export: Export, path: Path) -> None:
    """Directions from the first block to the last."""
    method = export.vector.passport.get("method")
    name = method.get("method") if isinstance(method, dict) else None
    write_control_vector(export, path, export.shifts, {f"{ARCHITECTURE}.method": str(name or "unknown")})


EASYSTEER = ExportFormat(
    "a control vector of EasySteer",
    ".gguf",
    write,
    "positions and strength, which a request gives",
    "SteerVectorRequest(..., steer_vector_local_path={path!r}, scale={alpha})",
)
