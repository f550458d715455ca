"""Blocks as Markdown, CSV and LaTeX; rich is in terminal.py."""

from __future__ import annotations

import csv
import html
import io
import re
from itertools import groupby

from lm_eval_steer.report.tables.blocks import Block
from lm_eval_steer.text import printable

_LATEX = {
    **{char: f"\\{char}" for char in "&%$#_{}"},
    **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
    **{"α": r"$\alpha$", "<": "$<$", ">": "$>$", "|": "$|$"},
    **{"[": "{[}", "]": "{]}", "*": "{*}"},  # behind \\ and \item they would be an argument
}


_FORMULA = tuple(
    "=+-@\N{FULLWIDTH EQUALS SIGN}\N{FULLWIDTH PLUS SIGN}\N{FULLWIDTH HYPHEN-MINUS}\N{FULLWIDTH COMMERCIAL AT}"
)
_NUMBER = re.compile(r"-|[+-]?[\d.,:]+(?:e[+-]?\d+)?%?", re.ASCII)
"""What may begin like a formula: a number, or the dash of an empty cell."""


def to_markdown(blocks: list[Block], notes: list[str]) -> str:
    """GitHub's tables."""
    parts = []
    for block in blocks:
        lines = [f"### {mark(block.title)}", ""]
        lines += [line for sentence in block.heading for line in (mark(sentence), "")]
        lines.append("| " + " | ".join(map(mark, block.columns)) + " |")
        lines.append("|" + "|".join(" --- " if name in block.left else " ---: " for name in block.columns) + "|")
        lines += ["| " + " | ".join(map(mark, cells)) + " |" for cells in block.rows]
        parts.append("\n".join(lines))
    if notes:
        parts.append("\n".join(f"- {mark(note)}" for note in notes))
    return "\n\n".join(parts) + "\n"


def to_csv(columns: list[str], rows: list[list[object]]) -> str:
    """One table; nothing for None. Text that a spreadsheet would take for a formula has an apostrophe before it."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(map(_plain, columns))
    writer.writerows([["" if cell is None else _plain(cell) for cell in cells] for cells in rows])
    return out.getvalue()


def to_latex(blocks: list[Block], notes: list[str]) -> str:
    """Tables for a document that uses the packages booktabs and graphicx."""
    parts = ["% \\usepackage{booktabs,graphicx}"]
    for block in blocks:
        kinds = "".join("l" if name in block.left else "r" for name in block.columns)
        lines = [r"\begin{table}", r"\centering", f"\\caption{{{_tex(' '.join([block.title + '.', *block.heading]))}}}"]
        lines += [r"\resizebox{\textwidth}{!}{%", f"\\begin{{tabular}}{{{kinds}}}", r"\toprule"]
        lines += [" & ".join(map(_tex, block.columns)) + r" \\", r"\midrule"]
        for keys, group in groupby(block.rows, key=lambda cells: cells[: block.keys]):
            if block.keys > 1 and lines[-1] != r"\midrule":
                lines.append(r"\midrule")
            for place, cells in enumerate(group):
                shown = [""] * block.keys if place else keys
                lines.append(" & ".join(map(_tex, [*shown, *cells[block.keys :]])) + r" \\")
        lines += [r"\bottomrule", r"\end{tabular}}", r"\end{table}"]
        parts.append("\n".join(lines))
    if notes:
        items = [f"\\item {_tex(note)}" for note in notes]
        parts.append("\n".join([r"\begin{itemize}", *items, r"\end{itemize}"]))
    return "\n\n".join(parts) + "\n"


def mark(text: str) -> str:
    """Text in a cell of Markdown; < and > as HTML has them, since not every Markdown knows \\<."""
    for char in "\\|`*_[]":
        text = text.replace(char, f"\\{char}")
    return " ".join(html.escape(text, quote=False).split())


def _plain(cell: object) -> object:
    if not isinstance(cell, str):
        return cell
    text = printable(cell)
    return f"'{text}" if text.startswith(_FORMULA) and not _NUMBER.fullmatch(text) else text


def _tex(text: str) -> str:
    return "".join(_LATEX.get(char, char) for char in text)
