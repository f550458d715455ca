"""Vector files of other tools, one format a file: what they say becomes explicit, and what they leave open is asked."""

from __future__ import annotations

from lm_eval_steer.table import Table
from lm_eval_steer.vectors.foreign.answers import Answers, UnansweredError
from lm_eval_steer.vectors.foreign.format import ForeignFormat, Said
from lm_eval_steer.vectors.foreign.source import Source

__all__ = ["FOREIGN", "Answers", "ForeignFormat", "Said", "Source", "UnansweredError"]

FOREIGN: Table[ForeignFormat] = Table("foreign format", {})
