"""What lm_eval and sweep wrote: does steering help, by how much, and is it the concept?

groups.py    which runs can be compared, and what tells the others apart
sweeps.py    a result file's place in a sweep
rows.py      child x parent x task x conditions: the baseline and the arms
pairs.py     two runs of the same documents
costs.py     tokens from a record
judge.py     families, verdicts, random controls
entries.py   a row as plain data (JSON); sheet.py as a line of CSV
flat.py, layouts.py     rows as tables
terminal.py, formats.py tables as text
notes.py     what stands below
"""

from lm_eval_steer.report.tables.board import (
    FORMATS,
    LAYOUTS,
    SORTS,
    Leaderboard,
    next_command,
    read_leaderboard,
    render,
)

__all__ = ["FORMATS", "LAYOUTS", "SORTS", "Leaderboard", "next_command", "read_leaderboard", "render"]
