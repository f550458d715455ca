"""From vectors of parents to one vector in a child's own space, block by block."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from tqdm import tqdm

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.width_maps import Fitted, FittedMap, combine, cut, r2
from lm_eval_steer.transfer.args import TransferArgs
from lm_eval_steer.transfer.pairing import Aligned, align
from lm_eval_steer.transfer.passport import Mapped, make_passport
from lm_eval_steer.transfer.paths import paths_by_similarity, similarity
from lm_eval_steer.transfer.prepare import Prepared
from lm_eval_steer.transfer.states import read_states
from lm_eval_steer.vectors.vector import SteeringVector


def carry(args: TransferArgs, prepared: Prepared) -> SteeringVector:
    """Map every block of the child, one at a time.

    States are read before that, of one model after the other, and lie in files: memory never holds two models, and of
    the states what one block of two models takes.

    Raises:
        SteeringError: for models that cannot read the texts, states that are no numbers, and directions of which a map
            leaves nothing.
    """
    vectors = prepared.vectors
    aligned = _read(args, prepared)
    paths, cka = prepared.paths, None
    if paths is None:
        compared = {id(one): similarity(one, prepared.fit) for one in aligned}
        cka = compared[id(aligned[0])]
        paths = paths_by_similarity(args.layers, vectors, [compared[id(one)] for one in aligned])
    mapped = {}
    for block in tqdm(list(paths[0]), desc="Mapping directions", unit="block"):
        sources = [path[block] for path in paths]
        directions = [one.directions[one.layers.index(at)] for one, at in zip(vectors, sources, strict=True)]
        try:
            mapped[block] = _map(args, prepared, aligned, block, sources, directions)
        except SteeringError as error:
            named = " and ".join(map(str, sources))
            raise SteeringError(f"block {block} of the child from block {named} of the parent: {error}") from None
    rows = np.stack([one.direction for one in mapped.values()])
    return SteeringVector(rows, tuple(mapped), make_passport(args, prepared, mapped, cka))


def _read(args: TransferArgs, prepared: Prepared) -> list[Aligned]:
    """States of the parent of each vector beside the child's, one object for all vectors of one parent."""
    texts = prepared.texts
    if texts is None:
        return []
    states = {
        key: read_states(
            model,
            texts,
            tokens=args.tokens,
            chat=args.apply_chat_template,
            cache=args.cache,
            batch_size="auto" if args.batch_size == "auto" else int(args.batch_size),
        )
        for key, model in {id(model): model for model in (*prepared.parents, prepared.child)}.items()
    }
    child = states[id(prepared.child)]
    pairs = {id(model): align(states[id(model)], child) for model in prepared.parents}
    return [pairs[id(model)] for model in prepared.parents]


def _map(
    args: TransferArgs,
    prepared: Prepared,
    aligned: Sequence[Aligned],
    block: int,
    sources: Sequence[int],
    directions: Sequence[np.ndarray],
) -> Mapped:
    """The directions of one block of every vector's parent as one of a block of the child."""
    explained = None
    if args.is_fitted:
        fits, explained = _fit(args, prepared, aligned, block, sources)
        direction, lengths = combine(list(zip(fits, directions, args.shares, strict=True)))
    else:
        direction, lengths = _as_they_fall(args, directions, prepared.child.shape[1])
    return Mapped(direction, sources, lengths.tolist(), explained, cos_with_cut(direction, directions, args.shares))


def _fit(
    args: TransferArgs, prepared: Prepared, aligned: Sequence[Aligned], block: int, sources: Sequence[int]
) -> tuple[list[Fitted], list[float] | None]:
    """The map of every vector's parent, and what it explains on texts that were held out (None where they tell nothing
    of one); fitted once for each parent and block."""
    found: dict[tuple[int, int], tuple[Fitted, float | None]] = {}
    keys = [(id(pair), source) for pair, source in zip(aligned, sources, strict=True)]
    for key, pair, source in zip(keys, aligned, sources, strict=True):
        if key not in found:
            fitted = args.width.fit(pair.pairing(source, block, prepared.fit, args.shuffle_texts), args.seed)
            found[key] = fitted, r2(fitted, pair.pairing(source, block, prepared.held_out))
    explained = [found[key][1] for key in keys]
    known = [one for one in explained if one is not None]
    return [found[key][0] for key in keys], known if len(known) == len(keys) else None


def _as_they_fall(args: TransferArgs, directions: Sequence[np.ndarray], width: int) -> tuple[np.ndarray, np.ndarray]:
    """What a map that is not fitted makes of directions: that of one vector bit for bit as in a run, at length 1; the
    mean of several; and the length of each behind the map."""
    fit = args.width.entry
    assert not isinstance(fit, FittedMap)
    mapped = [fit(direction, width) for direction in directions]
    lengths = np.array([float(np.linalg.norm(one.astype(np.float64))) for one in mapped])
    if len(mapped) == 1:
        return cut(mapped[0], width), lengths
    as_it_is = Fitted(np.eye(width), None, np.zeros(width), np.zeros(width))
    return combine([(as_it_is, one, weight) for one, weight in zip(mapped, args.shares, strict=True)])


def cos_with_cut(direction: np.ndarray, parents: Sequence[np.ndarray], weights: Sequence[float]) -> float:
    """The cosine of a direction with the mean of the first components of parents' directions, each brought to length 1.

    Args:
        direction: [child width], of length 1.
        parents: of each vector its direction [parent width].
        weights: of each vector.
    """
    first = np.zeros(len(direction))
    for one, weight in zip(parents, weights, strict=True):
        kept = one[: len(direction)].astype(np.float64)
        length = np.linalg.norm(kept)
        first[: len(kept)] += weight * kept / (length if length > 0 else 1)
    length = np.linalg.norm(first)
    return float(direction @ first / length) if length > 0 else 0.0
