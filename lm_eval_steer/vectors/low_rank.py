"""Maps of low rank: what a vector file holds where h' = h + α·(hA + b)Cᵀ is meant (docs/FORMAT.md)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.svd import svd

PARTS = {"read": 2, "shift": 1, "write": 2}
"""Tensors of a map, A, b and C, and how many axes each has."""

LOW_RANK = "low_rank"
"""What the passport's `maps` says where there are some."""


@dataclass(frozen=True, eq=False)
class LowRank:
    """The map of one block: h' = h + α·(hA + b)Cᵀ.

    Attributes:
        read: A float32 [hidden, rank].
        shift: b float32 [rank].
        write: C float32 [hidden, rank].

    Raises:
        SteeringError: at construction, for shapes that do not fit each other, and numbers that are none.
    """

    read: np.ndarray
    shift: np.ndarray
    write: np.ndarray

    def __post_init__(self) -> None:
        for name, axes in PARTS.items():
            array = np.ascontiguousarray(getattr(self, name), dtype=np.float32)
            object.__setattr__(self, name, array)
            if array.ndim != axes or not array.size:
                raise SteeringError(f"{name} of a map has shape {list(array.shape)}, expected {axes} axes")
            if not np.isfinite(array).all():
                raise SteeringError(f"{name} of a map holds NaN or infinite numbers")
        if self.read.shape != self.write.shape or self.shift.shape != self.read.shape[1:]:
            raise SteeringError(
                f"a map of read {list(self.read.shape)}, shift {list(self.shift.shape)} and write "
                f"{list(self.write.shape)} is none: expected [hidden, rank], [rank] and [hidden, rank]"
            )
        if self.rank > len(self.read):
            raise SteeringError(f"a map of rank {self.rank} is {len(self.read)} wide: its rank is at most its width")

    @property
    def rank(self) -> int:
        """How many numbers it reads of a state."""
        return int(self.read.shape[1])

    @property
    def direction(self) -> np.ndarray:
        """The direction into which it writes most, float32 [hidden] of length 1: the first right singular vector of
        ACᵀ, or Cb where it reads nothing; on the side of Cb.

        Raises:
            SteeringError: for a map that changes nothing.
        """
        constant = self.write.astype(np.float64) @ self.shift
        ahead, corner = np.linalg.qr(self.write.astype(np.float64))
        _, sizes, found = svd(self.read @ corner.T)
        most = ahead @ found[0] if sizes[0] > 0 else constant
        length = np.linalg.norm(most)
        if not length:
            raise SteeringError("a map of nothing but zeros changes nothing")
        sign = -1.0 if (most @ constant or most[np.abs(most).argmax()]) < 0 else 1.0
        return (sign * most / length).astype(np.float32)

    def tensors(self, block: int) -> dict[str, np.ndarray]:
        """Its tensors by their names in a file."""
        return {f"{part}.{block}": getattr(self, part) for part in PARTS}


def maps_of(tensors: Mapping[str, np.ndarray]) -> dict[int, LowRank]:
    """The maps of a file, by block.

    Args:
        tensors: by name, as `LowRank.tensors` has them.

    Raises:
        SteeringError: for a map that is not whole.
    """
    found: dict[int, dict[str, np.ndarray]] = {}
    for name, array in tensors.items():
        part, _, number = name.partition(".")
        found.setdefault(int(number), {})[part] = array
    for block, parts in found.items():
        if missing := PARTS.keys() - parts.keys():
            raise SteeringError(f"the map of block {block} has no {min(missing)}.{block}")
    return {block: LowRank(**parts) for block, parts in sorted(found.items())}


def check_maps(maps: Mapping[int, LowRank], said: object, layers: tuple[int, ...], width: int) -> None:
    """Refuse maps that contradict the rest of a file.

    Args:
        maps: by block; none where the file has none.
        said: what the passport's `maps` says.
        layers: blocks that have a direction.
        width: of the directions.

    Raises:
        SteeringError: names what contradicts what.
    """
    if said not in (None, LOW_RANK) or (said == LOW_RANK) != bool(maps):
        raise SteeringError(
            f"the passport says maps {repr(said)[:60]}, and the file holds {len(maps) or 'none'}: expected "
            f"{LOW_RANK!r} where there are some"
        )
    if maps and tuple(maps) != layers:
        raise SteeringError(f"there are maps for blocks {list(maps)} and directions for {list(layers)}")
    for block, one in maps.items():
        if len(one.read) != width:
            raise SteeringError(f"the map of block {block} is {len(one.read)} wide, and the directions {width}")
