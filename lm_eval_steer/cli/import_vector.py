"""`lm-eval-steer vectors import`: makes a vector file of another tool's, and asks for what that does not say."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lm_eval_steer.cli.arguments import add_command, read_path
from lm_eval_steer.cli.output import check_vector_file, quote, steered
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.files import is_folder
from lm_eval_steer.sites import SITES
from lm_eval_steer.text import printable, span

if TYPE_CHECKING:
    from lm_eval_steer.vectors.vector import SteeringVector

ANSWERS = (
    "parent",
    "blocks",
    "layer",
    "site",
    "sign",
    "scale",
    "method",
    "debias",
    "row",
    "hook",
    "module",
    "architecture",
)
"""Arguments that say what a file does not; each is refused where a file leaves nothing of the kind open."""


def add(actions: Any) -> None:
    """Enter the command and its arguments."""
    parser = add_command(
        actions,
        "import",
        run,
        "make a vector file of one of another tool, whose format its content tells",
        "lm-eval-steer vectors import happy.gguf --parent mistralai/Mistral-7B-Instruct-v0.1 --out happy.safetensors",
        "vectors import",
    )
    option = parser.add_argument
    option(
        "source", type=read_path, metavar="FILE", help="a file of another tool, or a folder of such (docs/IMPORT.md)"
    )
    option("--from", dest="format", default="auto", metavar="FORMAT", help="instead of what the content tells")
    option("--out", required=True, type=read_path, metavar="FILE", help="the vector file, .safetensors or .pt")
    option("--scale", choices=("keep", "unit"), help="strength 1: what that tool adds at 1 (default), or length 1")
    option("--force", action="store_true", help="take a file that says another architecture or depth than --parent has")
    option = parser.add_argument_group("what a file may leave open; it is asked for where it does").add_argument
    option("--parent", metavar="MODEL", help="the model that it was made from: a folder or its name on the hub")
    option("--blocks", type=int, metavar="N", help="how many blocks it has, where its configuration is not in reach")
    option("--layer", type=int, metavar="N", help="the block, counted from 0, at whose output the vector acts")
    option(
        "--site", choices=("output", "input"), help="whether the tool's layer N is the output of block N or its input"
    )
    option("--sign", choices=("+", "-"), help="whether the directions stand as they are or turned round")
    option("--method", metavar="NAME", help="how the directions were made")
    option("--debias", type=read_path, metavar="FILE", help="a vector that belongs to it, or none")
    option("--row", type=int, metavar="N", help="the feature of a sparse autoencoder")
    option("--hook", metavar="NAME", help="where it acts, as TransformerLens names it: blocks.7.hook_resid_post")
    option("--module", metavar="NAME", help="to the output of which module it is added: model.layers.7")
    option("--architecture", metavar="NAME", help="model_type of the model's configuration, such as qwen2")


def run(args: argparse.Namespace) -> None:
    """Read the file, write the vector, and say what is not the same here."""
    from lm_eval_steer.vectors.foreign import Answers, import_vector
    from lm_eval_steer.vectors.low_rank import LOW_RANK

    check_vector_file(args.out)
    given = {name: getattr(args, name) for name in ANSWERS}
    parent = None if args.parent is None else describe_parent(args.parent)
    vector = import_vector(Path(args.source), Answers(given, parent, args.force), args.format)
    vector.save(args.out)
    known = vector.passport["import"]
    for note in known["notes"]:
        print(printable(f"- {note}"))
    print(printable(f"Wrote {args.out} from {known['format']}: {_told(vector)}. Use it:"))
    child = args.parent or vector.passport["parent"]["name"]
    steering = {"operator": LOW_RANK, "alpha": 1} if vector.maps else None
    print(f"  lm_eval --model steered-hf --model_args {steered(args.out, child, steering)} --tasks TASK")
    print(f"  lm-eval-steer vectors show {quote([args.out])}")


def _told(vector: SteeringVector) -> str:
    """What was made: how many, how wide, where, and how long."""
    from lm_eval_steer.vectors.vector import UNIT_TOLERANCE

    what = f"{len(vector.layers)} {'map of low rank' if vector.maps else 'direction'}{'s'[: len(vector.layers) > 1]}"
    where = f"blocks {span(vector.layers)}" if SITES[vector.site].in_blocks else f"at {vector.site}"
    told = f"{what} of width {vector.directions.shape[1]}, {where}"
    if vector.maps or vector.transfer is not None:
        return told
    lengths = [one["length"] for one in vector.passport["blocks"]]
    shortest, longest = min(lengths), max(lengths)
    if abs(shortest - 1) <= UNIT_TOLERANCE and abs(longest - 1) <= UNIT_TOLERANCE:
        return f"{told}, of length 1"
    size = f"length {shortest:.4g}" if len(lengths) == 1 else f"lengths {shortest:.4g} to {longest:.4g}"
    return f"{told}, of {size}, which strength 1 {'has not' if vector.lengths is None else 'has'}"


def describe_parent(name: str) -> dict[str, Any]:
    """What is known of a model: name, depth, width, architecture, revision and digest where it is in reach, else its
    name alone.

    Raises:
        SteeringError: for a folder that holds no model.
    """
    from lm_eval_steer import plugin

    plugin.install(force=True)
    from lm_eval_steer.transfer.model import Model

    model = Model({"pretrained": name}, option="--parent")
    try:
        return model.description
    except SteeringError:
        if is_folder(name):
            raise
        return {"name": name}
