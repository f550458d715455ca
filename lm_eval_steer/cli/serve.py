"""`lm-eval-steer serve`: vLLM's server, whose requests are steered by the vectors of a folder."""

from __future__ import annotations

import argparse
import os
from typing import Any

from lm_eval_steer.cli.arguments import add_command, read_path


def add(group: Any) -> None:
    """Enter the command and its arguments."""
    parser = add_command(
        group,
        "serve",
        run,
        "serve a model with vLLM, each request steered by a vector of a folder at a strength of its own",
        "lm-eval-steer serve --vectors vectors models/smollm2 --port 8000",
    )
    option = parser.add_argument
    option("--vectors", type=read_path, metavar="DIR", help="the vectors that requests may name; before the model")
    option(
        "--default",
        metavar="JSON",
        help='what steers requests that say nothing of it, as in `{"vectors": "smollm2_sentiment", "alpha": 2}`',
    )
    option("arguments", nargs=argparse.REMAINDER, metavar="MODEL ...", help="the model and arguments of `vllm serve`")


def run(args: argparse.Namespace) -> None:
    """Set what the plugin reads in each of vLLM's processes, and hand over to vLLM."""
    from lm_eval_steer.engines.vllm.support import require_vllm
    from lm_eval_steer.errors import SteeringError
    from lm_eval_steer.serving.plugin import DEFAULT, VECTORS

    if args.vectors is None or not args.arguments:
        raise SteeringError(
            "name a folder of vectors and then a model, behind which stands what is vLLM's, as in lm-eval-steer serve "
            "--vectors DIR MODEL"
        )
    require_vllm()
    os.environ[VECTORS] = str(args.vectors)
    if args.default is not None:
        os.environ[DEFAULT] = args.default
    from lm_eval_steer.engines.vllm.versions import run_command

    run_command(["serve", *args.arguments])
