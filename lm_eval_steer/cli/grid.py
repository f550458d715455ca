"""`lm-eval-steer grid`: a study of parents x children x tasks, from one file."""

from __future__ import annotations

import argparse
from importlib.resources import files
from typing import Any

from lm_eval_steer import plugin
from lm_eval_steer.cli.arguments import add_command, read_path
from lm_eval_steer.cli.output import make_console

PRESETS = ("small", "paper")


def add(group: Any) -> None:
    """Enter all actions and their arguments."""
    grid = group.add_parser(
        "grid",
        help="a study of parents x children x tasks, from one file",
        description="Describe, plan and run a study of parents x children x tasks.",
        epilog="example:\n  lm-eval-steer grid init --preset small > study.yaml\n  lm-eval-steer grid plan study.yaml",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = grid.add_subparsers(required=True, metavar="action")
    parser = add_command(
        actions,
        "init",
        init,
        "print a commented study to start from",
        "lm-eval-steer grid init --preset paper > study.yaml",
        "grid init",
    )
    parser.add_argument(
        "--preset", choices=PRESETS, default="small", help="small (default: minutes on a laptop) or paper (its Table 1)"
    )
    parser = add_command(
        actions,
        "plan",
        plan,
        "show what a study has to do, and what is missing before it can; no model is loaded",
        "lm-eval-steer grid plan study.yaml",
        "grid plan",
    )
    _add_study(parser)
    parser.add_argument(
        "--list",
        action="store_true",
        help="one line per stage, parted by tabs: index, folder, what it is, indices of those that it needs",
    )


def _add_study(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("study", type=read_path, metavar="STUDY", help="the file, YAML (grid init prints one)")


def init(args: argparse.Namespace) -> None:
    """Print a preset."""
    print((files("lm_eval_steer.grid") / "presets" / f"{args.preset}.yaml").read_text(encoding="utf-8"), end="")


def plan(args: argparse.Namespace) -> None:
    """Print the stages; in their table, how many there are beside as many as there would be cell by cell."""
    plugin.install(force=True)
    from lm_eval_steer.grid.check import find_problems
    from lm_eval_steer.grid.overview import make_table, tell_stages
    from lm_eval_steer.grid.stages import make_stages
    from lm_eval_steer.grid.study import read_study

    study = read_study(args.study)
    stages = make_stages(study)
    if args.list:
        for line in tell_stages(stages):
            print(line)
        return
    make_console().print(make_table(study, stages))
    for problem in find_problems(study, stages):
        print(f"- {problem}")
