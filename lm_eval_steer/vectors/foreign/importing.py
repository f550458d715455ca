"""From a file of another tool to a SteeringVector: what it says, what was asked, and where it comes from."""

from __future__ import annotations

import hashlib
import importlib.metadata
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.sites import DEFAULT
from lm_eval_steer.text import printable, shortened
from lm_eval_steer.vectors.foreign.answers import Answers, UnansweredError
from lm_eval_steer.vectors.foreign.format import Said
from lm_eval_steer.vectors.foreign.formats import FOREIGN
from lm_eval_steer.vectors.foreign.refused import refusal
from lm_eval_steer.vectors.foreign.source import Source, open_source
from lm_eval_steer.vectors.formats.header import SITE
from lm_eval_steer.vectors.low_rank import LOW_RANK
from lm_eval_steer.vectors.scale import KEEP, UNIT
from lm_eval_steer.vectors.vector import UNIT_TOLERANCE, SteeringVector

_STILL_TRUE = ("explained_variance", "mean_norm")
"""What a passport says of a block that holds for a direction of any length and of either sign, as a file may have been
exported at any strength."""

AUTO = "auto"
"""The format is told by the content."""


def import_vector(path: Path, answers: Answers | None = None, name: str = AUTO) -> SteeringVector:
    """Read a vector of another tool.

    Args:
        path: its file or folder.
        answers: to what the file cannot tell.
        name: of the format in `FOREIGN`.

    Raises:
        UnansweredError: where the file leaves something open that nobody said; it names the argument that says it.
        SteeringError: one sentence that names the file, for anything else that is in the way.
    """
    answers = answers or Answers()
    entry = None if name == AUTO else FOREIGN[name]
    named = entry is not None
    source = open_source(path)
    try:
        if entry is None:
            name = recognise(source)
            entry = FOREIGN[name]
            source = replace(source, files=[] if source.container == "folder" else [path])  # not what others looked at
        said = entry.read(source, answers)
        vector = _make(said, answers, source, name)
        answers.refuse_unused(entry.words)
        return vector
    except UnansweredError as error:
        raise UnansweredError(f"{shortened(path)}: {error}", error.argument) from None
    except SteeringError as error:
        raise SteeringError(f"{shortened(path)}: {error}") from None
    except (KeyError, TypeError, AttributeError, IndexError, ValueError):
        if not named:
            raise
        raise SteeringError(f"{shortened(path)}: it is not {FOREIGN[name].words}: leave out --from {name}") from None


def recognise(source: Source) -> str:
    """The name of the first format in the table that knows the content.

    Raises:
        SteeringError: where it can be no vector, or no format knows it.
    """
    if why := refusal(source):
        raise SteeringError(why)
    for name in FOREIGN:
        knows = FOREIGN[name].recognises
        if knows is not None and knows(source):
            return name
    raise SteeringError(
        "no format of steering vectors is known in which a file looks like this: if you know it, say it with --from "
        f"{'|'.join(FOREIGN)}"
    )


def _make(said: Said, answers: Answers, source: Source, name: str) -> SteeringVector:
    rows, left_out = _finite(said.shifts)
    layers = tuple(sorted(rows))
    shifts = np.stack([rows[layer] for layer in layers]).astype(np.float64)
    lengths = np.linalg.norm(shifts, axis=1)
    is_unit = bool((abs(lengths - 1) <= UNIT_TOLERANCE).all())
    scale = answers.may("scale") or KEEP
    if scale not in (KEEP, UNIT):
        raise SteeringError(f"--scale {scale} is not understood: use {KEEP} or {UNIT}")
    notes = list(said.notes)
    if left_out:
        notes.append(f"Block{'s'[: len(left_out) > 1]} {', '.join(map(str, left_out))}: all zeros, so not steered.")
    directions = shifts if is_unit else shifts / lengths[:, None]
    blocks = [{"block": layer, "length": float(one)} for layer, one in zip(layers, lengths, strict=True)]
    if said.passport is not None:
        passport = _own(said.passport, blocks, is_unit or scale == UNIT, notes)
    else:
        passport = _passport(said, answers, shifts.shape[1], layers, notes)
        passport |= {"scale": UNIT if is_unit else scale, "blocks": blocks}
    if said.maps:
        passport["maps"] = LOW_RANK
    passport["import"] = {
        "format": name,
        "files": {printable(path.name): _sha256(path) for path in dict.fromkeys(source.files)},
        "answers": answers.asked,
        "says": dict(said.says),
        "notes": notes,
    }
    return SteeringVector(directions.astype(np.float32), layers, passport, dict(sorted(said.maps.items())))


def _sha256(path: Path) -> str:
    sha = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(2**20):
            sha.update(piece)
    return sha.hexdigest()


def _finite(shifts: Mapping[int, np.ndarray]) -> tuple[dict[int, np.ndarray], list[int]]:
    """The rows that steer, float32, and the blocks of those that are all zeros.

    Raises:
        SteeringError: for numbers that are none, different widths, and where nothing steers.
    """
    widths = sorted({len(row) for row in shifts.values()})
    if len(widths) > 1:
        raise SteeringError(f"its blocks have directions of different widths, {widths[0]} and {widths[1]}")
    kept, left_out = {}, []
    for block, row in sorted(shifts.items()):
        with np.errstate(over="ignore"):
            row = np.asarray(row).astype(np.float32)
        if not np.isfinite(row).all():
            raise SteeringError(f"the direction of block {block} holds NaN, or numbers that float32 does not hold")
        if row.any():
            kept[block] = row
        else:
            left_out.append(block)
    if not kept:
        raise SteeringError("it holds no direction of a block's output that is not all zeros")
    return kept, left_out


def _passport(said: Said, answers: Answers, width: int, layers: tuple[int, ...], notes: list[str]) -> dict[str, Any]:
    """The passport but for what is known of each block."""
    parent = dict(answers.parent)
    answers.may("parent")
    if "name" not in parent:
        if "name" not in said.parent:
            answers.ask("parent", "the file does not say the model that it was made from")
        parent["name"] = said.parent["name"]
    if "num_blocks" not in parent:
        known = said.parent.get("num_blocks")
        parent["num_blocks"] = (
            known
            if known is not None
            else answers.blocks("the file does not say how deep its model is", parent["name"])
        )
    _compare(said.parent, parent, answers.force, notes)
    if parent.get("hidden_size", width) != width:
        raise SteeringError(
            f"its directions are {width} wide, and {parent['name']} is {parent['hidden_size']} wide: it was made from "
            "another model"
        )
    if layers[-1] >= parent["num_blocks"]:
        raise SteeringError(
            f"it has a direction for block {layers[-1]}, and {parent['name']} has {parent['num_blocks']} blocks, "
            "counted "
            "from 0: it was made from another model"
        )
    if "architecture" not in parent and "architecture" in said.parent:
        parent["architecture"] = said.parent["architecture"]
    method = said.method or answers.may("method")
    software = {one: importlib.metadata.version(one) for one in ("lm_eval_steer", "numpy")}
    return {
        "parent": parent | {"hidden_size": width},
        "site": SITE if said.site == DEFAULT else said.site,
        "layer_base": 0,
        **({"method": {"method": str(method)}} if method else {}),
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "software": software,
    }


def _compare(said: Mapping[str, Any], parent: Mapping[str, Any], force: bool, notes: list[str]) -> None:
    """Refuse a parent that is not what the file says, unless that is forced; then a note says so."""
    for key, words in {"architecture": "architecture", "num_blocks": "number of blocks"}.items():
        if key not in said or key not in parent or _same(said[key], parent[key]):
            continue
        both = f"the file says {words} {said[key]}, and {parent['name']} has {parent[key]}"
        if not force:
            raise SteeringError(f"{both}: name the model that it was made from, or take it as it stands with --force")
        notes.append(f"Taken by force: {both}.")


def _same(one: Any, other: Any) -> bool:
    """Whether two are the same; of names of architectures, without what GGUF and transformers write differently."""
    if isinstance(one, int):
        return bool(one == other)
    short, long = sorted((re.sub(r"[^a-z0-9]", "", str(text).lower()) for text in (one, other)), key=len)
    return long.startswith(short)


def _own(passport: Mapping[str, Any], blocks: list[dict[str, Any]], is_unit: bool, notes: list[str]) -> dict[str, Any]:
    """The passport of a vector of this project that comes back from another format."""
    kept = dict(passport)
    if kept.get("transfer") is not None:
        if not is_unit:
            notes.append("It was transferred to a child, and strength 1 is again what it was before it was exported.")
        return kept
    said = kept.get("blocks")
    entries = said if isinstance(said, list) else []
    known = {one["block"]: one for one in entries if isinstance(one, dict) and type(one.get("block")) is int}
    told = []
    for one in blocks:
        more = known.get(one["block"], {})
        told.append(one | {key: more[key] for key in _STILL_TRUE if key in more})
    return kept | {"blocks": told, "scale": UNIT if is_unit else KEEP}
