"""`lm-eval-steer grid plan`: what a study has to do, and how long that takes here."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lm_eval_steer import plugin
from lm_eval_steer.cli.arguments import add_command, read_path
from lm_eval_steer.cli.grid_progress import interrupt, shown
from lm_eval_steer.cli.output import make_console, quote
from lm_eval_steer.errors import SteeringError

if TYPE_CHECKING:
    from lm_eval_steer.grid.stage import Stage
    from lm_eval_steer.grid.study import Study


def add(group: Any, add_study: Callable[[argparse.ArgumentParser], None]) -> None:
    """Enter the action and its arguments."""
    parser = add_command(
        group,
        "plan",
        plan,
        "show what a study has to do, and what is missing before it can; no model is loaded",
        "lm-eval-steer grid plan study.yaml",
        "grid plan",
    )
    add_study(parser)
    option = parser.add_argument
    option(
        "--list",
        action="store_true",
        help="one line per stage, parted by tabs: index, folder, what it is, indices of those that it needs; hours",
    )
    option(
        "--pilot", type=int, metavar="N", help="run N documents of each kind of stage, and tell hours per stage here"
    )
    option(
        "--out",
        type=read_path,
        metavar="DIR",
        help="where --pilot keeps what it ran, to go on from there (default: the name of STUDY with -pilot)",
    )


def plan(args: argparse.Namespace) -> int:
    """Print the stages; in their table, how many there are beside as many as there would be cell by cell."""
    os.environ.setdefault("TQDM_DISABLE", "1")  # documents are built for the table, which is no progress of the study
    plugin.install(force=True)
    from lm_eval_steer.grid.check import find_problems, refuse_problems
    from lm_eval_steer.grid.estimate import estimate
    from lm_eval_steer.grid.overview import make_table, tell_saving, tell_stages
    from lm_eval_steer.grid.stages import make_stages
    from lm_eval_steer.grid.study import read_study

    study = read_study(args.study)
    stages = make_stages(study)
    hours, is_whole = None, True
    if args.pilot is not None:
        refuse_problems(study, stages)
        hours, is_whole = _pilot(args, study, stages)
    if args.list:
        for line in tell_stages(stages, hours):
            print(line)
        return 0 if is_whole else 1
    costs = estimate(stages)
    make_console().print(make_table(study, stages, costs, hours))
    if saving := tell_saving(costs):
        print(saving)
    for problem in [] if args.pilot else find_problems(study, stages):
        print(f"- {problem}")
    return 0 if is_whole else 1


def _pilot(args: argparse.Namespace, study: Study, stages: Sequence[Stage]) -> tuple[dict[str, float], bool]:
    """Run the pilot: hours by folder of a stage, and whether all of it was done."""
    from lm_eval_steer.grid.estimate import sweep_costs
    from lm_eval_steer.grid.folder import Grid
    from lm_eval_steer.grid.pilot import pilot_stages, tell_hours
    from lm_eval_steer.grid.run import Runner

    if args.pilot < 1:
        raise SteeringError(f"--pilot {args.pilot} is no number of documents: give 1 or more")
    signal.signal(signal.SIGTERM, interrupt)
    few = pilot_stages(study, args.pilot)
    grid = Grid(Path(args.out or f"{args.study.removesuffix('.yaml')}-pilot"))
    grid.enter(few)
    with shown(grid, few) as tell:
        is_whole = Runner(grid, 1, None, tell).run(few)
    responses = {stage.folder: cost.passes for stage, cost, _ in sweep_costs(stages)}
    print(f"The pilot is in {quote([str(grid.root)])}; remove it when it is of no use any more.", file=sys.stderr)
    return tell_hours(stages, responses, few, grid), is_whole
