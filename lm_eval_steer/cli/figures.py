"""`lm-eval-steer figures`: every figure that results allow, as files."""

from __future__ import annotations

import argparse
from typing import Any

from lm_eval_steer.cli.arguments import add_command, read_path
from lm_eval_steer.cli.output import quote
from lm_eval_steer.cli.results import add_results, read_board
from lm_eval_steer.text import printable


def add(group: Any) -> None:
    """Enter the command and its arguments."""
    parser = add_command(
        group,
        "figures",
        run,
        "draw the figures that results allow: accuracy by strength, change by vote, agreement of votes, dose by block",
        "lm-eval-steer figures sweep --out figures",
    )
    parser.add_argument(
        "--out", required=True, type=read_path, metavar="FOLDER", help="where each goes as .svg and as .png"
    )
    add_results(parser)


def run(args: argparse.Namespace) -> None:
    """Draw, and name what was written and what could not be drawn."""
    from lm_eval_steer.report.figures import check_folder, write_figures

    check_folder(args.out)
    board = read_board(args)
    written, missing = write_figures(board, args.out)
    for path in written:
        print(printable(f"Wrote {path}"))
    for sentence in missing:
        print(printable(f"- {sentence}"))
    print("See them beside the table and the responses:")
    print(f"  lm-eval-steer report {quote(args.folders)} --out report.html")
