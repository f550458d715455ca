"""Vector files of other tools, one format a file: what they say becomes explicit, and what they leave open is asked."""

from __future__ import annotations

from lm_eval_steer.vectors.foreign.answers import Answers, UnansweredError
from lm_eval_steer.vectors.foreign.format import ForeignFormat, Said
from lm_eval_steer.vectors.foreign.formats import FOREIGN
from lm_eval_steer.vectors.foreign.importing import AUTO, import_vector, recognise
from lm_eval_steer.vectors.foreign.source import Source, open_source

__all__ = [
    "AUTO",
    "FOREIGN",
    "Answers",
    "ForeignFormat",
    "Said",
    "Source",
    "UnansweredError",
    "import_vector",
    "open_source",
    "recognise",
]
