"""hotwire-vllm: a folder of tensors, a row for each block, and a manifest beside them."""

from __future__ import annotations

import json
from pathlib import Path

from lm_eval_steer.vectors.exports.export import Export
from lm_eval_steer.vectors.exports.format import ExportFormat
from lm_eval_steer.vectors.exports.torch_file import save, tensor
from lm_eval_steer.vectors.formats.header import KEY

NAME = "vector"
"""What a request calls the direction by: the name of its file."""


def write(export: Export, path: Path) -> None:
    """Tensor [blocks, hidden] and manifest.json, which recommends the block whose shift is the longest."""
    table = export.table()
    save(tensor(table), path / f"{NAME}.pt")
    longest = int((table**2).sum(axis=1).argmax())
    direction = {
        "name": NAME,
        "shape": list(table.shape),
        "dtype": "float32",
        "recommended_layer": longest,
        "recommended_alpha": 1.0,
    }
    manifest = {"model": export.model, "directions": [direction], KEY: export.header}
    (path / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")


HOTWIRE = ExportFormat(
    "a folder of hotwire-vllm",
    "",
    write,
    "which blocks are steered: a request names each with its strength",
    'HOTWIRE_VECTORS={path} vllm serve MODEL, and per request [{{"id": "vector", "layer": 7, "scale": {alpha}}}, ...]',
)
