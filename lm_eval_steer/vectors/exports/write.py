"""Writing an export, whole or not at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.files import refuse_unwritable, write_whole
from lm_eval_steer.folders import write_folder
from lm_eval_steer.text import shortened
from lm_eval_steer.vectors.exports.export import Export
from lm_eval_steer.vectors.exports.format import ExportFormat


def write_export(export: Export, entry: ExportFormat, out: str | Path) -> Path:
    """Write a file, or a folder that is new or empty.

    Args:
        export: what is written.
        entry: as what.
        out: where.

    Raises:
        SteeringError: for a name of another suffix, numbers beyond float32, what the format cannot hold, and a place
            that cannot be written.
    """
    out = Path(out)
    if entry.suffix and out.suffix != entry.suffix:
        raise SteeringError(f"--out {shortened(out)}: {entry.words} is a {entry.suffix} file")
    for block, shift in export.shifts.items():
        if not np.isfinite(shift).all():
            raise SteeringError(f"--alpha {export.alpha:g} times the direction of block {block} is beyond float32")
    if not entry.suffix:
        return write_folder(out, lambda folder: entry.write(export, folder))
    refuse_unwritable(out)
    return write_whole(out, lambda part: entry.write(export, part))
