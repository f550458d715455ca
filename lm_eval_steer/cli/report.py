"""`lm-eval-steer report`: everything about some runs on one page."""

from __future__ import annotations

import argparse
from typing import Any

from lm_eval_steer.cli.arguments import add_command, read_path
from lm_eval_steer.cli.output import quote
from lm_eval_steer.cli.results import add_metrics, add_results, read_board
from lm_eval_steer.text import printable


def add(group: Any) -> None:
    """Enter the command and its arguments."""
    parser = add_command(
        group,
        "report",
        run,
        "write one HTML page, to be read offline: verdicts, table, figures, and every response beside the baseline's",
        "lm-eval-steer report sweep --out report.html",
    )
    parser.add_argument("--out", required=True, type=read_path, metavar="FILE", help="the page, .html")
    add_results(parser)
    add_metrics(parser)


def run(args: argparse.Namespace) -> None:
    """Write the page."""
    from lm_eval_steer.report.figures import missing_matplotlib
    from lm_eval_steer.report.page import check_page, write_page

    check_page(args.out)
    board = read_board(args, metrics_asked=args.metrics)
    path = write_page(board, args.out)
    if without := missing_matplotlib():
        print(printable(f"Wrote {path}, without its figures ({without}). Open it in a browser; then, as files:"))
    else:
        print(printable(f"Wrote {path}. Open it in a browser; the figures as files:"))
    print(f"  lm-eval-steer figures {quote(args.folders)} --out figures")
