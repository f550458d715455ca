"""IBM activation-steering: `.svec`, JSON with a direction per block, which is added where that block begins."""

from __future__ import annotations

from pathlib import Path

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.vectors.exports.export import Export
from lm_eval_steer.vectors.exports.format import ExportFormat
from lm_eval_steer.vectors.exports.json_file import numbers, write_json
from lm_eval_steer.vectors.formats.header import KEY


def write(export: Export, path: Path) -> None:
    """Each direction under the number of the block behind it, whose input is the output that it belongs to.

    Raises:
        SteeringError: for a direction of the last block, behind which there is none.
    """
    last = export.num_blocks - 1
    if last in export.shifts:
        raise SteeringError(
            f"activation-steering adds at the inputs of blocks, and behind block {last} there is none: export the "
            f"others with --layers 0-{last - 1}, and measure those (layers= of --model_args), as they steer otherwise"
        )
    directions = {str(block + 1): numbers(shift) for block, shift in export.shifts.items()}
    write_json(
        {
            "model_type": export.architecture,
            "directions": directions,
            "explained_variances": dict.fromkeys(directions, 0.0),
            KEY: export.header,
        },
        path,
    )


ACTIVATION_STEERING = ExportFormat(
    "a steering vector of IBM activation-steering",
    ".svec",
    write,
    "the last block, positions and strength; its numbers of blocks are one higher, as it adds at their inputs",
    "MalleableModel(...).steer(SteeringVector.load({path!r}), behavior_vector_strength={alpha})",
)
