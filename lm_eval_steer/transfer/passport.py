"""The passport of a vector that was transferred: that of its first parent, and `transfer` (docs/FORMAT.md)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lm_eval_steer.transfer.args import TransferArgs
from lm_eval_steer.transfer.prepare import Prepared


@dataclass(frozen=True, eq=False)
class Mapped:
    """What came of one block of the child.

    Attributes:
        direction: float32 [child width], of length 1.
        sources: of each vector, the block of its parent that the direction comes from.
        lengths: of each vector, how long its direction was behind the map.
        r2: of each vector, what its map explains on texts that were held out; None where none is fitted, or they tell
            nothing.
        cos_cut: the cosine of the direction with what `cut` makes of the same vectors and weights.
    """

    direction: np.ndarray
    sources: Sequence[int]
    lengths: Sequence[float]
    r2: Sequence[float] | None
    cos_cut: float


def make_passport(
    args: TransferArgs, prepared: Prepared, mapped: Mapping[int, Mapped], cka: np.ndarray | None
) -> dict[str, Any]:
    """The passport.

    Args:
        args: what was asked for.
        prepared: what it started from.
        mapped: by block of the child.
        cka: how alike the blocks of the first parent and of the child are [parent blocks, child blocks]; None where
            they were not compared.
    """
    kept = {key: value for key, value in prepared.vectors[0].passport.items() if key != "hub"}
    return kept | {
        "transfer": {
            "child": prepared.child.description,
            "parents": [_parent(args, prepared, number) for number in range(len(prepared.vectors))],
            "width_map": args.width.setting,
            "layer_map": args.layers.setting,
            "texts": _texts(prepared),
            "tokens": args.tokens if args.reads else None,
            "apply_chat_template": args.apply_chat_template,
            "seed": args.seed,
            "shuffled": args.shuffle_texts,
            "allow_leak": args.allow_leak,
            "blocks": [_block(block, one) for block, one in mapped.items()],
            "cka": None if cka is None else [[round(float(value), 6) for value in row] for row in cka],
        }
    }


def _parent(args: TransferArgs, prepared: Prepared, number: int) -> dict[str, Any]:
    """What is said of the parent of one of the vectors; its whole passport where it is not the first."""
    vector = prepared.vectors[number]
    said = vector.passport["parent"]
    found = prepared.parents[number].description if prepared.parents else said
    more = {"hub": vector.passport["hub"]} if "hub" in vector.passport else {}
    more |= {"passport": vector.passport} if number else {}
    return {
        "name": said["name"],
        "revision": found.get("revision"),
        "digest": found.get("digest"),
        "fingerprint": vector.fingerprint,
        "weight": args.shares[number],
        **more,
    }


def _texts(prepared: Prepared) -> dict[str, Any] | None:
    texts = prepared.texts
    if texts is None:
        return None
    rows_sha256 = hashlib.sha256("\n".join(texts.hashes).encode()).hexdigest()
    return texts.source | {
        "rows": list(texts.hashes),
        "rows_sha256": rows_sha256,
        "held_out": len(prepared.held_out),
    }


def _block(block: int, one: Mapped) -> dict[str, Any]:
    said = {"source": one.sources, "r2": one.r2, "length": one.lengths}
    return {"block": block, "cos_cut": one.cos_cut} | {
        key: values if values is None else values[0] if len(values) == 1 else list(values)
        for key, values in said.items()
    }
