"""The record of responses: append-only JSONL, one file per task and rank, from which a killed run goes on.

docs/RECORD.md is its specification. A line counts once its line feed is in the file; what stands behind the last line
feed was never acknowledged, so readers ignore it and the next writer cuts it off.

line.py    one line, and how it is JSON
files.py   the files, and all that only reads them
store.py   Record, which appends
"""

from lm_eval_steer.axis.record.files import read_lines, settings_of
from lm_eval_steer.axis.record.line import VERSION, VOLATILE, Line, digest
from lm_eval_steer.axis.record.store import Record

__all__ = [
    "VERSION",
    "VOLATILE",
    "Line",
    "Record",
    "digest",
    "read_lines",
    "settings_of",
]
