"""The harness's own model `steered`: hookpoints of transformers' modules, each with a vector and its coefficient."""

from __future__ import annotations

from pathlib import Path

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.vectors.exports.export import Export
from lm_eval_steer.vectors.exports.format import ExportFormat
from lm_eval_steer.vectors.exports.torch_file import save, tensor


def write(export: Export, path: Path) -> None:
    """One entry per block, whose coefficient is alpha.

    Raises:
        SteeringError: where nobody said which model it is for.
    """
    if export.path is None:
        raise SteeringError("the harness's model `steered` names blocks as the model does: name it with --child")
    steered = {"action": "add", "steering_coefficient": export.alpha, "bias": None, "head_index": None}
    save(
        {f"{export.path}.{block}": {"steering_vector": tensor(row), **steered} for block, row in export.rows.items()},
        path,
    )


LM_EVAL_STEERED = ExportFormat(
    "a file of the harness's model `steered`",
    ".pt",
    write,
    "the passport; it steers every position, padding too",
    "lm_eval --model steered --model_args pretrained=CHILD,steer_path={path} --tasks TASK",
)
