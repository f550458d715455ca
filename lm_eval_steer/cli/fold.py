"""`lm-eval-steer vectors fold`: steering inside a child's weights, so that whatever runs the child steers it."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING, Any

from lm_eval_steer.cli.arguments import PAIRS, Pairs, add_command, read_path
from lm_eval_steer.cli.output import quote, steered
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.text import shortened, span

if TYPE_CHECKING:
    from lm_eval_steer.vectors.vector import SteeringVector


def add(actions: Any) -> None:
    """Enter the command and its arguments."""
    parser = add_command(
        actions,
        "fold",
        fold,
        "write a child whose weights hold the steering: a normal checkpoint, or an adapter",
        "lm-eval-steer vectors fold smollm2_sentiment --child models/smollm2 --alpha 2 --out smollm2-positive",
        "vectors fold",
    )
    option = parser.add_argument
    option("vector", type=read_path, metavar="FILE", help="a vector file, or the name of one as for `vectors=`")
    option(
        "--child",
        required=True,
        type=read_path,
        metavar="ID_OR_DIR",
        help="the child, as pretrained=..., or a GGUF file",
    )
    option("--alpha", required=True, type=float, help="the strength, one number; every position is steered by it")
    option("--out", required=True, type=read_path, metavar="DIR", help="the folder, a new or an empty one")
    option("--adapter", action="store_true", help="an adapter of PEFT (peft=DIR), which more families take")
    option(
        "--steering",
        nargs="+",
        action=Pairs,
        default={},
        metavar=PAIRS,
        help="more of --model_args: layers, alpha_per_layer, layer_map, width_map, control, operator, site, preset, "
        "blocks, allow_other_child",
    )
    option(
        "--dtype",
        choices=("auto", "float32", "bfloat16", "float16"),
        default="auto",
        help="of the weights (default: auto, that of the child's files)",
    )


def fold(args: argparse.Namespace) -> None:
    """Fold, prove, and say what was written and how it is run."""
    from lm_eval_steer.folding.beside import SUFFIX
    from lm_eval_steer.folding.write import write_folded
    from lm_eval_steer.vectors.catalog import find_vector
    from lm_eval_steer.vectors.load import load_one

    vector = load_one(find_vector(args.vector), "fold")
    steering = {**args.steering, "alpha": args.alpha}
    if args.child.endswith(SUFFIX):
        _beside(args, vector, steering)
        return
    done = write_folded(args.out, vector, args.child, steering, args.dtype, args.adapter)
    rounded = f", of whose effect {done.dtype} rounds off up to {done.lost:.2%}" if done.lost > 1e-6 else ""
    print(
        f"Wrote {args.out} ({done.kind}): {done.what}{rounded}. Read again in float32, it gives random texts "
        f"the log-likelihoods of the steered child (largest difference {done.difference:.1g} nats per token)."
    )
    named = f"pretrained={args.child},peft={args.out}" if args.adapter else f"pretrained={args.out}"
    print("Run it without this package, or in the harness:")
    print(f"  lm_eval --model hf --model_args {quote([named])} --tasks TASK")


def _beside(args: argparse.Namespace, vector: SteeringVector, steering: dict[str, Any]) -> None:
    """Write a control vector for a child in GGUF, and say how it is used and measured."""
    from lm_eval_steer.folding.beside import NAME, write_beside

    for option, is_given in {"--adapter": args.adapter, f"--dtype {args.dtype}": args.dtype != "auto"}.items():
        if is_given:
            raise SteeringError(
                f"{shortened(args.child)} is a GGUF file, whose weights stay as they are: leave out {option}"
            )
    blocks = write_beside(args.out, vector, args.child, steering)
    path = os.path.join(args.out, NAME)
    print(f"Wrote {path}, a control vector of blocks {span(blocks)}. {args.child} stays as it is. Run it, measure it:")
    print(f"  llama-cli -m {quote([args.child])} --control-vector-scaled {quote([path])}:1.0")
    print(f"  lm_eval --model steered-gguf --model_args {steered(args.vector, args.child, steering)} --tasks TASK")
