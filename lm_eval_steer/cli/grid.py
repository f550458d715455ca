"""`lm-eval-steer grid`: a study of parents x children x tasks, from one file."""

from __future__ import annotations

import argparse
import signal
from importlib.resources import files
from pathlib import Path
from typing import Any

from lm_eval_steer import plugin
from lm_eval_steer.cli import grid_plan, grid_submit
from lm_eval_steer.cli.arguments import add_command, read_path
from lm_eval_steer.cli.grid_progress import interrupt, shown, tell_line
from lm_eval_steer.cli.output import make_console, quote
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.text import printable

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
    grid_plan.add(actions, add_study)
    parser = add_command(
        actions,
        "run",
        run,
        "run what of a study is missing, each stage in a process of its own; exit code 1 where one failed",
        "lm-eval-steer grid run study.yaml --out study --jobs 2",
        "grid run",
    )
    add_study(parser)
    option = parser.add_argument
    option("--out", required=True, type=read_path, metavar="DIR", help="the folder of the study; it goes on from there")
    option("--jobs", type=int, metavar="N", help="stages at a time (default: 1, or as many as --gpus)")
    option(
        "--gpus", type=int, metavar="N", help="deal out the first N GPUs, to each stage as many as its resources say"
    )
    option(
        "--index",
        type=int,
        metavar="I",
        help="only this stage of grid plan --list, as SLURM arrays and Kubernetes' indexed jobs number them",
    )
    grid_submit.add(actions, add_study)
    parser = add_command(
        actions,
        "status",
        status,
        "tell what has become of every stage",
        "lm-eval-steer grid status study",
        "grid status",
    )
    parser.add_argument("folder", type=read_path, metavar="DIR", help="what grid run had as --out")
    parser = add_command(
        actions,
        "collect",
        collect,
        "join folders of studies: what is done in any of them is done in the joined one",
        "lm-eval-steer grid collect mine theirs --out both",
        "grid collect",
    )
    parser.add_argument("folders", nargs="+", type=read_path, metavar="DIR", help="what grid run had as --out")
    parser.add_argument("--out", required=True, type=read_path, metavar="DIR", help="the joined folder")


def add_study(parser: argparse.ArgumentParser) -> None:
    """Enter the file of a study."""
    parser.add_argument("study", type=read_path, metavar="STUDY", help="the file, YAML (grid init prints one)")


def init(args: argparse.Namespace) -> None:
    """Print a preset."""
    print((files("lm_eval_steer.grid") / "presets" / f"{args.preset}.yaml").read_text(encoding="utf-8"), end="")


def run(args: argparse.Namespace) -> int:
    """Run the stages, and tell of each when it begins and how it ends."""
    plugin.install(force=True)
    from lm_eval_steer.grid.check import refuse_problems
    from lm_eval_steer.grid.folder import Grid
    from lm_eval_steer.grid.overview import count_states
    from lm_eval_steer.grid.run import Runner, run_one, visible_gpus
    from lm_eval_steer.grid.stages import make_stages
    from lm_eval_steer.grid.study import read_study

    for option, number in (("--jobs", args.jobs), ("--gpus", args.gpus)):
        if number is not None and number < 1:
            raise SteeringError(f"{option} {number} is no number to run on: give 1 or more")
    study = read_study(args.study)
    stages, grid = make_stages(study), Grid(Path(args.out))
    gpus = None if args.gpus is None else visible_gpus(args.gpus)
    jobs = args.jobs or args.gpus or 1
    signal.signal(signal.SIGTERM, interrupt)
    if args.index is not None:
        grid.enter_once(stages)
        return 0 if run_one(Runner(grid, jobs, gpus, tell_line), stages, args.index) else 1
    refuse_problems(study, [stage for stage in stages if grid.state(stage.folder).word != "done"])
    grid.enter(stages)
    with shown(grid, stages) as tell:
        is_done = Runner(grid, jobs, gpus, tell).run(stages)
    print(f"{count_states(grid, stages)}. See them, or the sweeps that are done:")
    print(f"  lm-eval-steer grid status {quote([args.out])}\n  lm-eval-steer leaderboard {quote([args.out])}")
    return 0 if is_done else 1


def status(args: argparse.Namespace) -> None:
    """Print a table of all stages."""
    from lm_eval_steer.grid.folder import Grid
    from lm_eval_steer.grid.overview import count_states, make_status
    from lm_eval_steer.grid.queue import read_queue

    grid = Grid(Path(args.folder))
    stages, queue = grid.stages(), read_queue(grid)
    make_console().print(make_status(grid, stages, queue=queue))
    print(count_states(grid, stages))
    if queue.problem:
        print(printable(queue.problem))


def collect(args: argparse.Namespace) -> None:
    """Join, and name what is done nowhere."""
    from lm_eval_steer.grid.collect import collect as join
    from lm_eval_steer.grid.folder import Grid

    copied, missing = join([Grid(Path(folder)) for folder in args.folders], Grid(Path(args.out)))
    print(f"Copied {copied} stages to {args.out}; {len(missing)} are done in none of the folders:")
    for stage in missing:
        print(printable(f"- {stage.name}"))
    print(f"All sweeps in one table:\n  lm-eval-steer leaderboard {quote([args.out])}")
