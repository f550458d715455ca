"""The page: one HTML file that asks for nothing else."""

from __future__ import annotations

import base64
import hashlib
import shlex
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from lm_eval_steer import __version__
from lm_eval_steer.compare.responses import read_responses
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.files import refuse_unwritable, write_whole
from lm_eval_steer.report.figures import draw, figure_bytes, find_pictures, missing_matplotlib
from lm_eval_steer.report.page.data import embed, make_blocks
from lm_eval_steer.report.page.extent import pages_apart, tell_apart
from lm_eval_steer.report.page.settings import facts_of_row
from lm_eval_steer.report.page.svg import inline
from lm_eval_steer.report.page.words import MARKS, name_row, sum_up, tell
from lm_eval_steer.report.tables import Leaderboard
from lm_eval_steer.report.tables.blocks import tell_shared_keys
from lm_eval_steer.report.tables.parents import tell_parents
from lm_eval_steer.text import printable

NO_SAMPLES = (
    "No document is here to look at: the harness keeps them only with --log_samples. Run lm_eval with --log_samples "
    "and --output_path (a sweep does), and with record=DIR among --model_args for the responses of every strength."
)
NO_RECORD = (
    "Only the responses of whole runs are here. With record=DIR among --model_args, those of every strength of a set "
    "are, too."
)


def check_page(path: str | Path) -> None:
    """Check, before the work, that a page can be written to `path`.

    Raises:
        SteeringError: for another suffix than .html, and a place that cannot be written to.
    """
    if Path(path).suffix.lower() != ".html":
        raise SteeringError(f"--out {path}: a report is one HTML file, name it with .html")
    refuse_unwritable(path)


def write_page(board: Leaderboard, path: str | Path) -> Path:
    """Write the page of a leaderboard, whole or not at all; without matplotlib, without figures.

    Raises:
        SteeringError: for samples that were cut or changed since the leaderboard read them, and a full disk.
    """
    text = make_page(board)
    return write_whole(path, lambda part: part.write_bytes(text.encode("utf-8", "replace")))


def make_page(board: Leaderboard) -> str:
    """The page as text."""
    apart = pages_apart(board)
    responses = [] if apart else read_responses(board.rows, board.records)
    without = missing_matplotlib()
    pictures, missing = ([], [without]) if without else find_pictures(board, responses, bool(apart))
    left_out = dict.fromkeys(f"Left out: {sentence}" for sentence in board.records.left_out)
    index, blocks = make_blocks(responses, board.names)
    told = [tell(row, board.names) for row in board.rows]
    script = _asset("page.js")
    children = dict.fromkeys(board.names[row.child] for row in board.rows)
    tasks = dict.fromkeys(row.group.task for row in board.rows)
    folders = " ".join(shlex.quote(str(folder)) for folder in board.folders)
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=_shown
    )
    return environment.from_string(_asset("page.html")).render(
        about=f"{', '.join(children)} on {', '.join(tasks)}",
        sum_up=sum_up(told),
        parents=tell_parents(board.rows, board.names),
        told=told,
        marks=MARKS,
        zip=zip,
        tables=list(map(tell_shared_keys, board.blocks())),
        notes=list(dict.fromkeys([*left_out, *board.notes])),
        pictures=[
            (picture, Markup(inline(figure_bytes(figure, "svg"), f"f{number}-", picture.title)))
            for number, (picture, figure) in enumerate(draw(pictures))
        ],
        missing=missing,
        settings=[(", ".join(name_row(row, board.names)), facts_of_row(row)) for row in board.rows],
        index=Markup(embed(index)),
        blocks=[Markup(embed(block)) for block in blocks],
        why_no_samples="" if responses else tell_apart(apart) if apart else NO_SAMPLES,
        pages=list(apart.values()),
        why_few_samples="" if any(one.has_record for one in responses) else NO_RECORD,
        style=Markup(_asset("page.css")),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        version=__version__,
        command=f"lm-eval-steer report {folders} --out report.html",
    )


def _shown(value: object) -> object:
    """What the page says about results, without control characters; its own parts as they are."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _asset(name: str) -> str:
    return files("lm_eval_steer.report.page").joinpath(name).read_text(encoding="utf-8")
