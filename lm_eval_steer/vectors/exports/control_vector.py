"""What the formats in GGUF share: tensors `direction.N` in float32, and a few words in the header."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from lm_eval_steer.vectors.exports.export import Export
from lm_eval_steer.vectors.formats.header import KEY

ARCHITECTURE = "controlvector"


def write_control_vector(
    export: Export, path: Path, blocks: Iterable[int], more: Mapping[str, str] | None = None
) -> None:
    """Write a control vector.

    Args:
        export: what is written.
        path: of the file.
        blocks: in the order in which their directions stand in it.
        more: other texts of the header.
    """
    rows = {block: export.shifts[block] for block in blocks}
    write_rows(path, rows, export.architecture, {**(more or {}), KEY: export.header})


def write_rows(path: Path, rows: Mapping[int, np.ndarray], architecture: str, texts: Mapping[str, str]) -> None:
    """Write directions as they are.

    Args:
        path: of the file.
        rows: block -> float32 [hidden], in the order of the file.
        architecture: of the model, as the file's hint.
        texts: others of the header.
    """
    from gguf import GGUFWriter

    writer = GGUFWriter(path, ARCHITECTURE)
    try:
        writer.add_string(f"{ARCHITECTURE}.model_hint", architecture)
        writer.add_uint32(f"{ARCHITECTURE}.layer_count", len(rows))
        for key, text in texts.items():
            writer.add_string(key, text)
        for block, row in rows.items():
            writer.add_tensor(f"direction.{block}", np.ascontiguousarray(row))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    finally:
        writer.close()
