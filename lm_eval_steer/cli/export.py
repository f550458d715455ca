"""`lm-eval-steer vectors export`: a vector as a file of another tool, which then computes what was measured here."""

from __future__ import annotations

import argparse
import shlex
from typing import TYPE_CHECKING, Any

from lm_eval_steer.cli.arguments import add_command, read_layers, read_path
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.text import printable

if TYPE_CHECKING:
    from lm_eval_steer.vectors.vector import SteeringVector


def add(actions: Any) -> None:
    """Enter the command and its arguments."""
    parser = add_command(
        actions,
        "export",
        export,
        "write a vector as a file of another tool",
        "lm-eval-steer vectors export smollm2_sentiment --to llama.cpp --layers 1-29 --out sentiment.gguf",
        "vectors export",
    )
    option = parser.add_argument
    option("vector", type=read_path, metavar="FILE", help="a vector file, or the name of one as for `vectors=`")
    option(
        "--to",
        required=True,
        metavar="FORMAT",
        help="llama.cpp, repeng, easysteer, steering-vectors, lm-eval, vllm-lens, hotwire, steering-lite, aisteer360, "
        "activation-steering, caa, easyedit, persona-vectors, unlock, saklas",
    )
    option("--out", required=True, type=read_path, metavar="PATH", help="the file, or folder, that is written")
    option(
        "--alpha",
        type=float,
        default=1.0,
        help="a strength that the file has inside: 1 there is this much here (default: 1)",
    )
    option("--layers", type=read_layers, metavar="BLOCKS", help="the directions of these blocks alone, as in 1-29")
    option(
        "--child",
        type=read_path,
        metavar="ID_OR_DIR",
        help="the model that is steered there; a vector of another one is brought to it as in a run, greedy and cut",
    )


def export(args: argparse.Namespace) -> None:
    """Write the file, and say what it cannot hold and how the other tool takes it."""
    from lm_eval_steer.interventions.layers import parse_layers
    from lm_eval_steer.interventions.meant import meant
    from lm_eval_steer.vectors.catalog import find_vector
    from lm_eval_steer.vectors.exports import EXPORTS, Export, write_export
    from lm_eval_steer.vectors.load import load_one

    entry = EXPORTS[args.to]
    vector, path = load_one(find_vector(args.vector), "vectors export"), None
    acts = meant(vector.passport.get("steering"))
    if args.child is not None:
        vector, path = _for_child(vector, args.vector, args.child)
    layers = None if args.layers is None else parse_layers(args.layers, vector.space["num_blocks"])
    made = Export(vector, args.alpha, layers, path)
    write_export(made, entry, args.out)
    print(f"Wrote {args.out} ({entry.words}): {len(made.rows)} directions of width {made.hidden_size}.")
    print(f"It does not hold {entry.loses}." if entry.loses else "It holds all of the vector.")
    if acts:
        told = ", ".join(f"{name}={value}" for name, value in acts.items())
        print(printable(f"It is meant to act under {told}, and was judged so: no file of another tool says that."))
    print("Use it:")
    print(f"  {entry.use.format(path=_Word(args.out), alpha='1.0')}")


class _Word(str):
    """A path in a line of a shell; quoted as Python does it where the line is Python's (`!r`)."""

    def __format__(self, spec: str) -> str:
        return format(shlex.quote(str(self)), spec)


def _for_child(vector: SteeringVector, name: str, child: str) -> tuple[SteeringVector, str]:
    """A vector in the space of the model that it is used with, and the path of the blocks there.

    Raises:
        SteeringError: for a model that is not there, and for a vector that was transferred to another one.
    """
    from lm_eval_steer.engines.hf.blocks import block_path
    from lm_eval_steer.interventions.child import refuse_other_child
    from lm_eval_steer.transfer.args import TransferArgs
    from lm_eval_steer.transfer.carry import carry
    from lm_eval_steer.transfer.model import Model
    from lm_eval_steer.transfer.prepare import prepare
    from lm_eval_steer.vectors.identity import Identity

    model = Model({"pretrained": child}, option="--child")
    known, path = Identity.of(model.description), block_path(model.empty())
    if vector.transfer is not None:
        refuse_other_child(vector.transfer, *model.shape, known, False)
        return vector, path
    if Identity.of(vector.passport["parent"]).is_same(known):
        if (vector.space["num_blocks"], vector.space["hidden_size"]) != model.shape:
            raise SteeringError(f"the vector says that it is of {child}, and it has another shape")
        return vector, path
    args = TransferArgs([name], child=child, width_map="cut", layer_map="greedy")
    return carry(args, prepare(args)), path
