"""The passport's `transfer`: how directions came from one or several parents into the space of a child.

docs/FORMAT.md says what each field means. `lm-eval-steer transfer` writes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.shapes import (
    COUNT,
    NUMBER,
    SAID_COUNT,
    TEXT,
    YES_OR_NO,
    Each,
    Either,
    Kind,
    Parts,
    Shape,
    Table,
    check,
    is_number,
)
from lm_eval_steer.text import LAST_SEED

KEEPS_LENGTH = "cut-raw"
"""The width map whose lengths count: directions are added as long as it left them, which `blocks[].length` says."""

TOGETHER = " + "
"""Between the names of parents whose vectors became one."""

_MODEL = {"name": TEXT, "num_blocks": COUNT, "hidden_size": COUNT}
_SEED = Kind(f"a seed from 1 to {LAST_SEED:,}", lambda value: COUNT.test(value) and 1 <= value <= LAST_SEED)


def _by_parent(shape: Shape) -> Shape:
    """A value of the only parent, or a list with one of each."""
    return Either(Each(shape, 1), shape)


TRANSFER = Parts(
    {
        "child": Parts(_MODEL, dict.fromkeys(("revision", "architecture", "dtype", "digest"), TEXT)),
        "parents": Each(
            Parts(
                {"name": TEXT},
                dict.fromkeys(("revision", "digest", "fingerprint"), TEXT)
                | {"weight": NUMBER, "passport": Parts({"parent": Parts(_MODEL)})},
            ),
            1,
        ),
        "width_map": Parts({"name": TEXT}),
        "layer_map": Parts({"name": TEXT}, {"blocks": Table(COUNT, SAID_COUNT)}),
        "blocks": Each(
            Parts(
                {"block": COUNT, "source": _by_parent(COUNT)},
                {"r2": _by_parent(NUMBER), "length": _by_parent(NUMBER), "cos_cut": NUMBER},
            )
        ),
    },
    {
        "texts": Parts({"rows": Each(TEXT)}, {"rows_sha256": TEXT, "held_out": COUNT}),
        "tokens": TEXT,
        "apply_chat_template": YES_OR_NO,
        "seed": COUNT,
        "shuffled": _SEED,
        "allow_leak": YES_OR_NO,
        "cka": Each(Each(NUMBER)),
    },
)


def check_transfer(passport: Mapping[str, Any], layers: Sequence[int]) -> None:
    """Refuse a `transfer` whose fields are missing, of another kind, or contradict each other.

    Args:
        passport: plain JSON with a good `parent`.
        layers: the child's blocks that there are directions for.

    Raises:
        SteeringError: names the first such field, what it is and what was expected.
    """
    transfer = passport["transfer"]
    try:
        check(transfer, TRANSFER, "transfer")
    except ValueError as error:
        raise SteeringError(f"the passport says {error}") from None
    for number, parent in enumerate(transfer["parents"][1:], 1):
        if parent.get("passport") is None:
            raise SteeringError(f"the passport says no transfer.parents[{number}].passport, whose blocks nobody knows")
    models = parents_of(passport)
    blocks = [one["block"] for one in transfer["blocks"]]
    if blocks != list(layers):
        raise SteeringError(
            f"the passport says transfer.blocks of blocks {blocks}, and directions are of {list(layers)}"
        )
    for one in transfer["blocks"]:
        for key in ("source", "r2", "length"):
            values = as_list(one.get(key))
            if values and len(values) != len(models):
                raise SteeringError(
                    f"the passport says {len(values)} x {key} for block {one['block']}, and there are {len(models)} "
                    "transfer.parents"
                )
        if transfer["width_map"]["name"] == KEEPS_LENGTH and not (is_number(one.get("length")) and one["length"] > 0):
            raise SteeringError(
                f"the passport says width_map {KEEPS_LENGTH} and length {one.get('length')} for block {one['block']}, "
                "expected a number above 0"
            )
        for source, model in zip(as_list(one["source"]), models, strict=True):
            if source >= model["num_blocks"]:
                raise SteeringError(
                    f"the passport says that block {one['block']} comes from block {source} of a parent that has "
                    f"num_blocks {model['num_blocks']}, and blocks count from 0"
                )
    shape = [models[0]["num_blocks"], transfer["child"]["num_blocks"]]
    rows = transfer.get("cka")
    if rows is not None and (len(rows) != shape[0] or {len(row) for row in rows} != {shape[1]}):
        raise SteeringError(
            f"the passport says transfer.cka of shape {[len(rows), *sorted({len(row) for row in rows})]}, expected "
            f"parent x child blocks {shape}"
        )


def parents_of(passport: Mapping[str, Any]) -> list[dict[str, Any]]:
    """`parent` of every parent's passport: the one that the vector was read from, and others that went into it."""
    others = (passport.get("transfer") or {}).get("parents", [])[1:]
    return [passport["parent"], *(one["passport"]["parent"] for one in others)]


def as_list(value: Any) -> list[Any]:
    """What a field of `transfer.blocks` holds of each parent; nothing where it is not there."""
    if value is None:
        return []
    return list(value) if isinstance(value, list) else [value]


def map_name(section: Mapping[str, Any]) -> str:
    """A map as its argument names it: `{"name": "ridge", "lambda": 0.05}` is `ridge:0.05`; a list of blocks `list`."""
    parameters = [f":{value:g}" for value in section.values() if is_number(value)]
    return "".join([section["name"], *parameters])
