"""What a transfer starts from, found and checked before a model is loaded."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.transfer import defaults
from lm_eval_steer.transfer.args import TransferArgs
from lm_eval_steer.transfer.model import Model
from lm_eval_steer.transfer.pairing import split
from lm_eval_steer.transfer.parents import find_parents, read_vectors
from lm_eval_steer.transfer.paths import Numbers, Path, paths_by_number
from lm_eval_steer.transfer.texts import Texts, find_texts
from lm_eval_steer.vectors.vector import SteeringVector


@dataclass(frozen=True)
class Prepared:
    """What a transfer starts from.

    Attributes:
        vectors: in the order in which they were named.
        child: the model that they go to.
        paths: of each vector, over the child's blocks that all of them reach; None where the states decide.
        parents: the model of each vector, one object for all vectors of one parent; none where nothing is read.
        texts: what all models read; None where nothing is read.
        fit: numbers of the texts that maps are fitted on.
        held_out: numbers of the others, by which they are judged.
    """

    vectors: tuple[SteeringVector, ...]
    child: Model
    paths: tuple[Path, ...] | None
    parents: tuple[Model, ...] = ()
    texts: Texts | None = None
    fit: Numbers = ()
    held_out: Numbers = ()


def prepare(args: TransferArgs) -> Prepared:
    """Find vectors, models and texts.

    Raises:
        SteeringError: for what is not there, does not belong together, or is too little for the map.
    """
    vectors = read_vectors(args.vectors)
    child = Model(args.child_args or {"pretrained": args.child}, args.device, "--child_args")
    blocks, width = child.shape
    paths = paths_by_number(args.layers, vectors, blocks)
    if not args.reads:
        return Prepared(vectors, child, paths)
    parents = find_parents(args.vectors, vectors, args.parent_args, args.device)
    if args.width.name == "anchors" and args.tokens == "all" and len(set(map(id, parents))) > 1:
        raise SteeringError(
            "anchors are the same states for all parents, and under --tokens all each parent has other ones, as its "
            "tokens end elsewhere: use --tokens last or mean"
        )
    texts = find_texts(args.task, args.texts, args.n, args.seed, args.allow_leak)
    fit, held_out = split(len(texts.texts), args.seed, defaults.HELD_OUT)
    if not len(held_out):
        raise SteeringError(
            f"{len(texts.texts)} text is not enough: a map is fitted on some texts and judged on others, so give at "
            "least 2"
        )
    rows = sys.maxsize if args.tokens == "all" else len(fit)  # of all tokens nobody knows the number yet
    for parent in parents:
        args.width.check(rows, (parent.shape[1], width))
    return Prepared(vectors, child, paths, parents, texts, fit, held_out)
