"""AISteer360: `.svec`, JSON with a list of directions per block; its control CAA adds them at the outputs."""

from __future__ import annotations

from pathlib import Path

from lm_eval_steer.vectors.exports.export import Export
from lm_eval_steer.vectors.exports.format import ExportFormat
from lm_eval_steer.vectors.exports.json_file import numbers, write_json
from lm_eval_steer.vectors.formats.header import KEY


def write(export: Export, path: Path) -> None:
    """Block -> [1, hidden]."""
    directions = {str(block): [numbers(shift)] for block, shift in export.shifts.items()}
    write_json({"model_type": export.architecture, "directions": directions, KEY: export.header}, path)


AISTEER360 = ExportFormat(
    "a steering vector of AISteer360, for its control CAA",
    ".svec",
    write,
    "site, positions and strength, which the control gives; ActAdd and CAST would add it a block earlier",
    "CAA(steering_vector=SteeringVector.load({path!r}), layer_id=L, multiplier={alpha})",
)
