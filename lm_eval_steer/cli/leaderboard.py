"""`lm-eval-steer leaderboard`: does steering help, by how much, and is it the concept?"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from lm_eval_steer.cli.arguments import add_command
from lm_eval_steer.cli.output import make_console
from lm_eval_steer.cli.results import add_metrics, add_results, read_board
from lm_eval_steer.text import printable


def add(group: Any) -> None:
    """Enter the command and its arguments."""
    parser = add_command(
        group,
        "leaderboard",
        run,
        "compare runs with their unsteered baseline, paired by document",
        "lm-eval-steer leaderboard sweep --layout table1 --format markdown",
    )
    option = parser.add_argument
    option("--format", default="rich", help="rich (default), markdown, latex, csv or json")
    option(
        "--layout",
        default="flat",
        help="every arm (flat, default), the paper's Table 1 (table1), or its Appendix C (best_alpha)",
    )
    option("--sort", default="", metavar="COLUMN", help="sort rows by best, change, holm_p, child, ...")
    add_results(parser)
    add_metrics(parser)


def run(args: argparse.Namespace) -> None:
    """Print the table, and the command that comes next where it does not get into the table's way."""
    from lm_eval_steer.report.tables import check_form, next_command, render

    check_form(args.format, args.layout)
    board = read_board(args, sort=args.sort, metrics_asked=args.metrics)
    console = make_console(120)
    sys.stdout.write(render(board, args.format, args.layout, console))
    why, command = next_command(board, args.format)
    print(f"{why}\n  {printable(command)}", file=sys.stdout if args.format == "rich" else sys.stderr)
