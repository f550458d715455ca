"""steering-lite: safetensors with `layerN.v` and a configuration whose coefficient is the strength."""

from __future__ import annotations

import json
from pathlib import Path

from lm_eval_steer.vectors.exports.export import Export
from lm_eval_steer.vectors.exports.format import ExportFormat


def write(export: Export, path: Path) -> None:
    """As its method `mean_diff`, which adds coefficient times v at the outputs of blocks. Other metadata keys would be
    in a random order."""
    from safetensors.numpy import save_file

    config = {
        "method": "mean_diff",
        "layers": list(export.rows),
        "target": "residual",
        "target_submodule": None,
        "coeff": export.alpha,
        "dtype": "float32",
        "seed": 0,
        "normalize": export.vector.lengths is None,
        "subtract_corpus_mean": False,
    }
    save_file({f"layer{block}.v": row for block, row in export.rows.items()}, path, {"cfg": json.dumps(config)})


STEERING_LITE = ExportFormat(
    "a vector of steering-lite",
    ".safetensors",
    write,
    "the passport; it steers every position, padding too",
    "with Vector.load({path!r})(model): ...",
)
