"""llama.cpp: a control vector in GGUF. Its loader takes no direction of block 0, so such a vector is refused."""

from __future__ import annotations

from pathlib import Path

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.vectors.exports.control_vector import write_control_vector
from lm_eval_steer.vectors.exports.export import Export
from lm_eval_steer.vectors.exports.format import ExportFormat


def write(export: Export, path: Path) -> None:
    """Directions from the last block to the first, which no other tool's files look like that mean another block.

    Raises:
        SteeringError: for a direction of block 0.
    """
    if 0 in export.shifts:
        raise SteeringError(
            f"llama.cpp steers no block 0: export the others with --layers 1-{export.num_blocks - 1}, and measure "
            "those (layers= of --model_args), as they steer otherwise"
        )
    write_control_vector(export, path, reversed(export.shifts))


LLAMA_CPP = ExportFormat(
    "a control vector of llama.cpp",
    ".gguf",
    write,
    "block 0; it steers every position",
    "llama-cli -m MODEL.gguf --control-vector-scaled {path}:{alpha}",
)
