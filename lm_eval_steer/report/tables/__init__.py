"""The leaderboard as text: does steering help, by how much, and is it the concept? `compare/` finds it out.

board.py    from folders to rows, and from rows to text
entries.py  a row as plain data (JSON); sheet.py as a line of CSV
flat.py, layouts.py     rows as tables
terminal.py, formats.py tables as text
notes.py    what stands below
"""

from lm_eval_steer.report.tables.board import (
    FORMATS,
    LAYOUTS,
    SORTS,
    Leaderboard,
    check_form,
    next_command,
    read_leaderboard,
    render,
)

__all__ = ["FORMATS", "LAYOUTS", "SORTS", "Leaderboard", "check_form", "next_command", "read_leaderboard", "render"]
