"""The page of a folder of vectors: a line for each file, as Markdown or HTML to lie beside them."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from urllib.parse import quote

from jinja2 import Environment, StrictUndefined

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.files import is_file, is_folder, refuse_unwritable
from lm_eval_steer.report.tables.blocks import Block
from lm_eval_steer.report.tables.formats import mark
from lm_eval_steer.report.vectors.facts import UNSAID, facts_of
from lm_eval_steer.text import printable, shortened
from lm_eval_steer.vectors.formats import suffixes
from lm_eval_steer.vectors.load import load_vector
from lm_eval_steer.vectors.several import AnyVector

SUFFIXES = (".gguf", ".svec")
"""Of files of other tools that are tried beside our own."""

VALIDATED = "accuracy on validation rows"

Validated = Callable[[AnyVector], str]
"""Vector -> the accuracy that its strength was chosen by; empty where no sweep knows it."""


@dataclass(frozen=True)
class Line:
    """A vector file.

    Attributes:
        cells: of its columns, the file's name without its suffix first.
        link: to the page beside it, else to the file, from the folder.
    """

    cells: list[str]
    link: str


@dataclass(frozen=True)
class Index:
    """What lies in a folder.

    Attributes:
        folder: as it was named.
        columns: their names.
        lines: one per vector, in the order of their names.
        left_out: a sentence for each file that is no vector.
        command: that makes the page.
    """

    folder: str
    columns: list[str]
    lines: list[Line]
    left_out: list[str]
    command: str

    @property
    def block(self) -> Block:
        """For the terminal."""
        return Block(self.about, self.columns, set(self.columns) - {"width"}, [line.cells for line in self.lines])

    @property
    def about(self) -> str:
        """One sentence."""
        many = f"{len(self.lines)} steering vectors" if len(self.lines) > 1 else "One steering vector"
        return f"{many}: per block of a model, one direction in its residual stream."


def read_index(folder: str, validated: Validated | None = None, command: str = "") -> Index:
    """Read every vector file of a folder and of the folders in it.

    Args:
        folder: its path.
        validated: adds the column that sweeps know.
        command: that makes the page; default `lm-eval-steer vectors list FOLDER`.

    Raises:
        SteeringError: for what is no folder, and for one without a vector.
    """
    if not is_folder(folder):
        raise SteeringError(f"{shortened(folder)} is no folder: name one with vector files")
    lines, left_out = [], []
    for path in sorted(Path(folder).rglob("*")):
        if path.suffix not in (*suffixes(), *SUFFIXES) or not is_file(path):
            continue
        try:
            vector = load_vector(path)
        except SteeringError as error:
            left_out.append(str(error))
            continue
        name = path.relative_to(folder).as_posix()
        page = Path(name).with_suffix(".md").as_posix()
        more = [] if validated is None else [validated(vector) or UNSAID]
        link = page if is_file(Path(folder) / page) else name
        lines.append(Line([printable(name), *facts_of(vector).values(), *more], quote(link)))
    if not lines:
        first = f": {left_out[0]}" if left_out else ""
        raise SteeringError(f"{shortened(folder)} holds no vector file{first}")
    columns = ["file", *facts_of(vector), *([] if validated is None else [VALIDATED])]
    return Index(folder, columns, lines, left_out, command or f"lm-eval-steer vectors list {shlex.quote(folder)}")


def check_index_file(path: str) -> None:
    """Check, before the work, that an index can be written to `path`.

    Raises:
        SteeringError: for another suffix than .md and .html, and a place that cannot be written to.
    """
    if Path(path).suffix not in WRITERS:
        raise SteeringError(f"--out {shortened(path)}: an index is a {' or '.join(WRITERS)} file")
    refuse_unwritable(path)


def to_markdown(index: Index) -> str:
    """The index as a page of Markdown."""
    lines = ["# Steering vectors", "", index.about, ""]
    lines += [f"| {' | '.join(index.columns)} |", f"|{'---|' * len(index.columns)}"]
    for line in index.lines:
        first, *cells = map(mark, line.cells)
        lines.append(f"| [{first}]({line.link}) | {' | '.join(cells)} |")
    lines += ["", *(f"- Not read: {mark(one)}" for one in index.left_out), *([""] if index.left_out else [])]
    return "\n".join([*lines, f"Written by `{index.command}`."]) + "\n"


def to_html(index: Index) -> str:
    """The index as a page of HTML, which asks for nothing else."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = files("lm_eval_steer.report.vectors").joinpath("index.html").read_text(encoding="utf-8")
    return environment.from_string(template).render(
        about=index.about,
        columns=index.columns,
        lines=index.lines,
        left_out=index.left_out,
        command=index.command,
    )


WRITERS: dict[str, Callable[[Index], str]] = {".md": to_markdown, ".html": to_html}
"""Suffix -> what writes a page of that kind."""
