"""EasyEdit: `layer_N.pt`, in a folder whose name tells the method."""

from __future__ import annotations

import re

from lm_eval_steer.vectors.foreign.answers import Answers
from lm_eval_steer.vectors.foreign.format import ForeignFormat, Said
from lm_eval_steer.vectors.foreign.layer_files import files_of, read_files
from lm_eval_steer.vectors.foreign.source import Source

_NAME = re.compile(r"layer_(\d{1,4})(?:_\w+)?\.pt")
_METHODS = {"caa_vector": "caa"}


def recognises(source: Source) -> bool:
    """It is such a file, or a folder of such."""
    return source.container in ("torch", "folder") and bool(files_of(source, _NAME))


def read(source: Source, answers: Answers) -> Said:
    """Each acts at the output of the block in its name. Asks for the method where the folder does not tell it."""
    shifts = read_files(source, _NAME, "layer_7.pt")
    folder = source.folder.resolve().name
    method = _METHODS.get(folder) or answers.ask(
        "method", f"many methods of EasyEdit write such files, and the folder {folder!r} does not tell which it was"
    )
    return Said(shifts, str(method), says={"folder": folder})


EASYEDIT = ForeignFormat("a vector of EasyEdit (layer_N.pt, or the folder)", read, recognises)
