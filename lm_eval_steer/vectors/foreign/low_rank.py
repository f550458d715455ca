"""Maps of low rank: A, b and C of each block; LoReFT's interventions of pyreft; erasers of concept-erasure (LEACE)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import numpy as np

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.text import quoted
from lm_eval_steer.vectors.foreign.answers import Answers
from lm_eval_steer.vectors.foreign.format import ForeignFormat, Said
from lm_eval_steer.vectors.foreign.rows import number_of, numbers
from lm_eval_steer.vectors.foreign.source import Source
from lm_eval_steer.vectors.low_rank import LowRank

Parts = Mapping[str, np.ndarray]

_NAME = re.compile(r"(?:[\w.\[\]]*[._\[])?(\d{1,4})[\]]?[._](A|b|C|weight|bias|rotate_layer|proj_left|proj_right)")
_PYREFT = re.compile(r"intkey_layer[._](\d{1,4})[._]comp[._](\w+?)[._]unit[._].*\.bin")
_OUTPUTS = ("block_output", "layer_output")


def _plain(parts: Parts) -> LowRank:
    """h + (hA + b)Cᵀ."""
    return LowRank(parts["A"], parts.get("b", np.zeros(parts["A"].shape[-1])), parts["C"])


def _loreft(parts: Parts) -> LowRank:
    """h + Rᵀ(Wh + b - Rh), of which `rotate_layer` is Rᵀ."""
    rotation = parts["rotate_layer"].astype(np.float64)
    return LowRank(parts["weight"].T - rotation, parts["bias"], rotation)


def _leace(parts: Parts) -> LowRank:
    """h - L R(h - μ), L and R the two projections, μ the `bias`."""
    left, right = (parts[name].astype(np.float64) for name in ("proj_left", "proj_right"))
    return LowRank(-right.T, right @ parts.get("bias", np.zeros(right.shape[-1])), left)


KINDS: dict[str, tuple[set[str], set[str], Callable[[Parts], LowRank]]] = {
    "maps": ({"A", "C"}, {"b"}, _plain),
    "LoReFT": ({"weight", "bias", "rotate_layer"}, set(), _loreft),
    "LEACE": ({"proj_left", "proj_right"}, {"bias"}, _leace),
}
"""What a file holds -> the tensors of a block that it needs, those that it may have, and the map that they are."""


def recognises(source: Source) -> bool:
    """A table of tensors of one of the kinds, by block, or a folder of pyreft."""
    if source.container == "folder":
        return any(_PYREFT.fullmatch(path.name) for path in source.path.iterdir())
    try:
        return _kind(_by_block(source)) is not None
    except (SteeringError, TypeError):
        return False


def read(source: Source, answers: Answers) -> Said:
    """A map acts at the output of the block that its tensors' names say."""
    blocks = _of_folder(source) if source.container == "folder" else _by_block(source)
    kind = _kind(blocks)
    if kind is None:
        told = ", ".join(sorted({part for parts in blocks.values() for part in parts})) or "nothing"
        raise SteeringError(
            f"its blocks hold {told}: expected A, b and C of each, weight, bias and rotate_layer (LoReFT), or "
            "proj_left and proj_right (LEACE)"
        )
    maps = {}
    for block, parts in sorted(blocks.items()):
        try:
            maps[block] = KINDS[kind][2](parts)
        except SteeringError as error:
            raise SteeringError(f"block {block}: {error}") from None
        except ValueError:
            told = ", ".join(f"{name} {list(one.shape)}" for name, one in sorted(parts.items()))
            raise SteeringError(f"the tensors of block {block} do not fit each other: {told}") from None
    note = "It is a map of each block: steer with operator=low_rank,alpha=1."
    if kind == "LoReFT":
        note += " LoReFT was trained on some positions of the prompt, which tokens= has to say."
    says = {"kind": kind, "rank": max(one.rank for one in maps.values())}
    directions = {block: one.direction for block, one in maps.items()}
    return Said(directions, kind if kind != "maps" else None, says=says, notes=(note,), maps=maps)


def _kind(blocks: Mapping[int, Parts]) -> str | None:
    """Which of the kinds all blocks are of."""
    for kind, (needed, more, _) in KINDS.items():
        if blocks and all(needed <= parts.keys() <= needed | more for parts in blocks.values()):
            return kind
    return None


def _by_block(source: Source) -> dict[int, dict[str, np.ndarray]]:
    """The tensors of a file by block and part: named `3.A` or `layers.3.A`, or a table of tables."""
    content = source.content
    is_file = source.container == "safetensors"
    if not is_file and not isinstance(content, dict):
        raise SteeringError("it holds no table of tensors")
    found: dict[int, dict[str, np.ndarray]] = {}
    parts = []
    for name in content.places if is_file else content:
        if not is_file and isinstance(content[name], dict):
            table = content[name].items()
            found[number_of(name, "a block")] = {part: numbers(one, f"{part} of {name}") for part, one in table}
            continue
        match = _NAME.fullmatch(name)
        if match is None:
            raise SteeringError(f"{quoted(name)} names no part of a block's map, such as 3.A")
        parts.append((name, int(match[1]), match[2]))
    for name, block, part in parts:  # read when all names are known: a checkpoint of other things is large
        found.setdefault(block, {})[part] = numbers(content[name], name)
    return found


def _of_folder(source: Source) -> dict[int, dict[str, np.ndarray]]:
    """The tensors of a folder of pyreft, a file per block."""
    found: dict[int, dict[str, np.ndarray]] = {}
    for path in sorted(source.path.iterdir()):
        match = _PYREFT.fullmatch(path.name)
        if match is None:
            continue
        block = number_of(match[1], f"the block in the name {path.name}")
        if match[2] not in _OUTPUTS:
            raise SteeringError(f"{path.name} acts at {match[2]}, and a map acts at the output of a block")
        if block in found:
            raise SteeringError(f"it holds two interventions of block {block}: import a folder with one of them")
        content = source.open(path.name).content
        if not isinstance(content, dict):
            raise SteeringError(f"{path.name} holds no table of tensors")
        found[block] = {str(name): numbers(one, f"{name} of {path.name}") for name, one in content.items()}
    return found


LOW_RANK_FILES = ForeignFormat(
    "maps of low rank (A, b and C of each block, LoReFT of pyreft, LEACE; .safetensors, .pt, or pyreft's folder)",
    read,
    recognises,
)
