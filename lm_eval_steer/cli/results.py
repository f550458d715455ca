"""Which results a command reads, and which rows of them: the same arguments for leaderboard, figures and report."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lm_eval_steer.cli.arguments import read_path
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.grid.folder import Grid, is_grid

if TYPE_CHECKING:
    from lm_eval_steer.report.tables import Leaderboard


def add_results(parser: argparse.ArgumentParser) -> None:
    """The folders, a filter for each of child, parent and task, the metric, and whether members of groups are shown."""
    parser.add_argument(
        "folders", nargs="+", type=read_path, metavar="DIR", help="what lm_eval or sweep wrote with --output_path"
    )
    for name in ("child", "parent", "task"):
        parser.add_argument(
            f"--{name}", metavar="FILTER", help=f"only rows whose {name} contains this (or matches * and ?)"
        )
    parser.add_argument(
        "--metric",
        metavar="NAME[,filter]",
        help="what runs are judged by (default: the metric of their sweep, else each task's first)",
    )
    parser.add_argument(
        "--family",
        choices=("task", "study"),
        default="task",
        help="Holm's correction over the tests of one child and task, or of all that is read (default: task)",
    )
    parser.add_argument(
        "--members",
        nargs="?",
        const="shown",
        choices=("shown", "tested"),
        help="tasks of groups, too: with intervals (shown, the default), or tested in a family of their own (tested)",
    )


def add_metrics(parser: argparse.ArgumentParser) -> None:
    """Whether tables of other metrics are shown, however many they are."""
    parser.add_argument(
        "--metrics", action="store_true", help="a table of each other metric, too (default: where they are one or two)"
    )


def result_folders(args: argparse.Namespace) -> list[Path]:
    """Where results are: of the folder of a study, the sweeps that are done.

    Raises:
        SteeringError: for an empty name, which a shell makes of a variable that is not set, and for a study without a
            sweep that is done.
    """
    if "" in args.folders:
        raise SteeringError("the name of a folder of results is empty: name what --output_path named, or . for here")
    return expanded(named_folders(args))


def read_board(args: argparse.Namespace, **more: Any) -> Leaderboard:
    """The rows that were asked for, judged; `more` goes to `read_leaderboard`.

    Raises:
        SteeringError: as `result_folders`, and for results that cannot be read or compared.
    """
    from lm_eval_steer.report.tables import read_leaderboard

    return read_leaderboard(
        result_folders(args),
        args.child,
        args.parent,
        args.task,
        metric=args.metric,
        members=args.members,
        family=args.family,
        named=named_folders(args),
        **more,
    )


def expanded(folders: list[Path]) -> list[Path]:
    """Folders of results; in place of that of a study its sweeps that are done.

    Raises:
        SteeringError: for a study without a sweep that is done.
    """
    return [place for folder in folders for place in (Grid(folder).sweeps() if is_grid(folder) else [folder])]


def named_folders(args: argparse.Namespace) -> list[Path]:
    """The folders as they were named."""
    return [Path(folder) for folder in args.folders]
