"""saklas: a profile, `layer_N` in safetensors with a JSON file beside it that has the digest of those bytes.

What it must hold was read in saklas/core/profile.py of release 5.3.0, which reads nothing else.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from lm_eval_steer.vectors.exports.export import Export
from lm_eval_steer.vectors.exports.format import ExportFormat
from lm_eval_steer.vectors.exports.json_file import write_json
from lm_eval_steer.vectors.formats.header import KEY

NAME = "vector"
VERSION = 6
_SAKLAS = "5.3.0"


def write(export: Export, path: Path) -> None:
    """vector.safetensors and vector.json; the passport is the profile's provenance."""
    from safetensors.numpy import save

    raw = save({f"layer_{block}": shift for block, shift in export.shifts.items()})
    (path / f"{NAME}.safetensors").write_bytes(raw)
    write_json(
        {
            "format_version": VERSION,
            "saklas_version": _SAKLAS,
            "method": "profile",
            "tensor_sha256": hashlib.sha256(raw).hexdigest(),
            "provenance": {KEY: export.header},
        },
        path / f"{NAME}.json",
    )


SAKLAS = ExportFormat(
    "a folder with a profile of saklas",
    "",
    write,
    "strength: it takes the sizes of blocks relative to each other alone, and steers every position",
    "Profile.load({path!r} + '/vector.safetensors')",
)
