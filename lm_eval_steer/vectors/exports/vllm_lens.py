"""vllm-lens: JSON as its SteeringVector takes it, for `apply_steering_vectors` of a request."""

from __future__ import annotations

import base64
from pathlib import Path

import numpy as np

from lm_eval_steer.vectors.exports.export import Export
from lm_eval_steer.vectors.exports.format import ExportFormat
from lm_eval_steer.vectors.exports.json_file import write_json


def write(export: Export, path: Path) -> None:
    """Rows of all blocks as bytes of float32, not compressed; alpha is their scale."""
    rows = np.stack(list(export.rows.values()))
    activations = {
        "data": base64.b64encode(rows.astype("<f4").tobytes()).decode("ascii"),
        "dtype": "float32",
        "shape": list(rows.shape),
    }
    write_json(
        {
            "activations": activations,
            "layer_indices": list(export.rows),
            "scale": export.alpha,
            "norm_match": False,
            "position_indices": None,
        },
        path,
    )


VLLM_LENS = ExportFormat(
    "a steering vector of vllm-lens",
    ".json",
    write,
    "the passport; it steers every position",
    "SteeringVector.model_validate_json(open({path!r}).read())",
)
