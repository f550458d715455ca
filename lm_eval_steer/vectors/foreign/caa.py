"""CAA: `vec_layer_N_MODEL.pt`, raw mean differences, or brought to their mean length over behaviours."""

from __future__ import annotations

import re

from lm_eval_steer.vectors.foreign.answers import Answers
from lm_eval_steer.vectors.foreign.format import ForeignFormat, Said
from lm_eval_steer.vectors.foreign.layer_files import files_of, read_files
from lm_eval_steer.vectors.foreign.source import Source

_NAME = re.compile(r"vec_layer_(\d{1,4})_(.+)\.pt")


def recognises(source: Source) -> bool:
    """It is such a file, or a folder of such."""
    return source.container in ("torch", "folder") and bool(files_of(source, _NAME))


def read(source: Source, answers: Answers) -> Said:
    """Each acts at the output of the block in its name, which has the last part of its model's name, too."""
    shifts = read_files(source, _NAME, "vec_layer_7_MODEL.pt")
    models = sorted({match[2] for path in files_of(source, _NAME) if (match := _NAME.fullmatch(path.name))})
    folders = [part for part in source.folder.resolve().parts if part in ("vectors", "normalized_vectors")]
    return Said(shifts, "mean", says={"models": ", ".join(models)[:300], "folder": (folders or ["unknown"])[-1]})


CAA = ForeignFormat("a vector of CAA (vec_layer_N_MODEL.pt, or the folder)", read, recognises)
