"""`lm-eval-steer grid submit`: a study as jobs of a cluster."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lm_eval_steer import plugin
from lm_eval_steer.cli.arguments import add_command, read_path
from lm_eval_steer.cli.output import quote
from lm_eval_steer.errors import SteeringError


def add(group: Any, add_study: Callable[[argparse.ArgumentParser], None]) -> None:
    """Enter the action and its arguments."""
    parser = add_command(
        group,
        "submit",
        submit,
        "give what of a study is missing to SLURM: an array of jobs per kind of stage, each behind those that it needs",
        "lm-eval-steer grid submit study.yaml --out /shared/study -- partition=gpu qos=normal",
        "grid submit",
    )
    add_study(parser)
    option = parser.add_argument
    option("--out", required=True, type=read_path, metavar="DIR", help="the folder of the study, which all nodes see")
    option("--executor", choices=("slurm",), default="slurm", help="what submitit hands jobs to (default: slurm)")
    rest = option("options", nargs="+", metavar="KEY=VALUE", help="behind --: options of sbatch, over the resources")
    rest.required = False  # with nargs="*" argparse takes no words behind options that follow the study


def submit(args: argparse.Namespace) -> int:
    """Submit, and tell of each array."""
    from lm_eval_steer.grid.submit import read_options

    options = read_options(args.options or [])
    plugin.install(force=True)
    from lm_eval_steer.grid.check import refuse_problems
    from lm_eval_steer.grid.folder import Grid
    from lm_eval_steer.grid.queue import read_queue
    from lm_eval_steer.grid.stages import make_stages
    from lm_eval_steer.grid.study import read_study
    from lm_eval_steer.grid.submit import submit as send

    study = read_study(args.study)
    stages, grid = make_stages(study), Grid(Path(args.out).absolute())
    refuse_problems(study, [stage for stage in stages if grid.state(stage.folder).word != "done"])
    grid.enter(stages)
    queue = read_queue(grid)
    if queue.problem:
        raise SteeringError(queue.problem)
    count = send(grid, stages, queue, options, print)
    print(f"{count} jobs were submitted. See what becomes of them:\n  lm-eval-steer grid status {quote([args.out])}")
    return 0
