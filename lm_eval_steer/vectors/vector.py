"""SteeringVector: one unit direction per block of a model, and the passport that says where it comes from.

The file format is specified in docs/FORMAT.md. Reading a file never runs code from it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.files import is_folder, refuse_unreadable, write_whole
from lm_eval_steer.sites import DEFAULT, SITES, Place, in_order, place_of, split
from lm_eval_steer.text import shortened
from lm_eval_steer.vectors.formats import reader, suffixes, writer
from lm_eval_steer.vectors.formats.header import FORMAT, MAX_NESTING, SITE, brief, tensor_of
from lm_eval_steer.vectors.identity import Identity
from lm_eval_steer.vectors.low_rank import PARTS, LowRank, check_maps, maps_of
from lm_eval_steer.vectors.scale import check_scale, kept_lengths
from lm_eval_steer.vectors.transferred import KEEPS_LENGTH, check_transfer

UNIT_TOLERANCE = 1e-3


@dataclass(frozen=True, eq=False)
class SteeringVector:
    """Directions of one site of a parent model, or of the child that they were transferred to.

    Attributes:
        directions: float32 [blocks, hidden], each row of length 1; of a site with heads [blocks, heads, head_dim], each
            head of length 1, or 0 where it is not steered.
        layers: the block index of each row, counted from 0, ascending; 0 at a site of which the model has one. Row i
            was read at the output of block `layers[i]` (or mapped there from a block of the parent), or at the site
            that the passport names, and that is where it steers.
        passport: what the file knows about itself, JSON-ready; `parent` with `name`, `hidden_size` and `num_blocks`
            is always there, and `transfer` where a fitted map made the directions. docs/FORMAT.md lists the rest.
        maps: block -> the map of low rank that is meant there, which `operator=low_rank` applies; directions are then
            those into which maps write most. None in most files.

    Raises:
        SteeringError: at construction, when the fields contradict each other.
    """

    directions: np.ndarray
    layers: tuple[int, ...]
    passport: dict[str, Any]
    maps: Mapping[int, LowRank] = field(default_factory=dict)

    def __post_init__(self) -> None:
        directions = np.ascontiguousarray(self.directions)
        object.__setattr__(self, "directions", directions)
        object.__setattr__(self, "layers", tuple(int(layer) for layer in self.layers))
        of = ["blocks", "heads", "head_dim"] if self._by_head else ["blocks", "hidden"]
        if directions.dtype != np.float32 or directions.ndim != len(of) or 0 in directions.shape[1:]:
            raise SteeringError(
                f"directions must be float32 of shape [{', '.join(of)}], got {directions.dtype} "
                f"{list(directions.shape)}"
            )
        if len(self.layers) != len(directions) or not self.layers:
            raise SteeringError(f"{len(directions)} directions need as many layers and at least one: {self.layers}")
        if list(self.layers) != sorted(set(self.layers)) or self.layers[0] < 0:
            raise SteeringError(f"layers must be distinct, ascending and not negative, got {list(self.layers)}")
        _check_parent(self.passport)
        if not _is_plain_json(self.passport):
            raise SteeringError(f"the passport is not plain JSON of at most {MAX_NESTING} levels without NaN")
        if self.passport.get("site", SITE) != SITE and self.site == DEFAULT:
            known = ", ".join((SITE, *(one for one in SITES if one != DEFAULT)))
            raise SteeringError(
                f"the passport says site {brief(self.passport['site'])}, this version takes one of {known}"
            )
        if self.passport.get("layer_base", 0) != 0:
            raise SteeringError(
                f"the passport says layer_base {brief(self.passport['layer_base'])}, this version takes 0 only"
            )
        check_maps(self.maps, self.passport.get("maps"), self.layers, directions.shape[1])
        if self.maps and (self.transfer is not None or self._by_head):
            raise SteeringError("a map of low rank is of whole states of one model: of no heads, and not transferred")
        if self.transfer is not None:
            check_transfer(self.passport, self.layers)
        else:
            check_scale(self.passport, self.layers)
        said = "" if self.transfer is None else "transfer.child."
        if not self._by_head and self.space["hidden_size"] != directions.shape[1]:
            raise SteeringError(
                f"the directions are {directions.shape[1]} wide, the passport says {said}hidden_size "
                f"{self.space['hidden_size']}"
            )
        if not SITES[self.site].in_blocks and self.layers != (0,):
            raise SteeringError(f"a model has one {self.site}, whose direction is {self.site}.0 alone")
        if self.layers[-1] >= self.space["num_blocks"]:
            raise SteeringError(
                f"there is a direction for block {self.layers[-1]}, "
                f"but the passport says {said}num_blocks {self.space['num_blocks']} and blocks count from 0"
            )
        for layer, direction in zip(self.layers, directions, strict=True):
            name = tensor_of(place_of(self.site, layer))
            if not np.isfinite(direction).all():
                raise SteeringError(f"{name} holds NaN or infinite numbers")
            lengths = np.linalg.norm(direction.astype(np.float64), axis=-1).reshape(-1)
            chosen = lengths[lengths != 0] if self._by_head and lengths.any() else lengths
            worst = float(chosen[np.abs(chosen - 1).argmax()])
            if abs(worst - 1) > UNIT_TOLERANCE:
                raise SteeringError(f"{name} has length {worst:.4g}, expected 1")

    @property
    def site(self) -> str:
        """Where the directions were read: a name in `SITES`."""
        said = self.passport.get("site") if isinstance(self.passport, dict) else None
        return said if isinstance(said, str) and said in SITES else DEFAULT

    @property
    def _by_head(self) -> bool:
        return SITES[self.site].by_head

    @property
    def sites(self) -> tuple[str, ...]:
        """The site, as `SeveralSites` has more of them."""
        return (self.site,)

    def at(self, site: str) -> SteeringVector:
        """The directions of a site: those of all."""
        assert site == self.site, site
        return self

    @property
    def tensors(self) -> dict[Place, np.ndarray]:
        """Directions by place, and parts of maps by their names."""
        rows = zip(self.layers, self.directions, strict=True)
        found: dict[Place, np.ndarray] = {place_of(self.site, layer): direction for layer, direction in rows}
        for block, one in self.maps.items():
            found.update(one.tensors(block))
        return found

    @property
    def transfer(self) -> dict[str, Any] | None:
        """The passport's `transfer`: how the directions came from the parent's space into a child's; None where they
        are the parent's own."""
        return self.passport.get("transfer")

    @property
    def space(self) -> dict[str, Any]:
        """The model in whose residual stream the directions lie, with `name`, `num_blocks` and `hidden_size`: the
        child that they were transferred to, else the parent."""
        model = self.passport["parent"] if self.transfer is None else self.transfer["child"]
        return {key: model[key] for key in ("name", "num_blocks", "hidden_size")}

    def shares_space(self, other: SteeringVector) -> bool:
        """Whether the directions of both lie in the residual stream of one model."""
        models = [one.passport["parent"] if one.transfer is None else one.transfer["child"] for one in (self, other)]
        same = Identity.of(models[0]).is_same(Identity.of(models[1]))
        return same and all(models[0][key] == models[1][key] for key in ("num_blocks", "hidden_size"))

    @property
    def lengths(self) -> np.ndarray | None:
        """How long each direction is added at strength 1, float64 [blocks]: what the width map `cut-raw` left of it in
        a vector that was transferred so, or what it was in the file of another tool (the passport's `scale`); None
        where all are of length 1."""
        if self.transfer is None:
            return kept_lengths(self.passport, self.layers)
        if self.transfer["width_map"]["name"] != KEEPS_LENGTH:
            return None
        return np.array([block["length"] for block in self.transfer["blocks"]], dtype=np.float64)

    @property
    def shifts(self) -> np.ndarray:
        """What is added to each block's output at strength 1, float32 [blocks, hidden]: the directions, as long as
        `lengths` says."""
        if self.lengths is None:
            return self.directions
        return (self.lengths.reshape(-1, *[1] * (self.directions.ndim - 1)) * self.directions).astype(np.float32)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the directions, their layers, and their lengths where these are not 1: two files with the same
        fingerprint steer alike."""
        site = [] if self.site == DEFAULT else [self.site]
        digest = hashlib.sha256(json.dumps([FORMAT, self.layers, self.directions.shape, *site]).encode())
        digest.update(self.directions.astype("<f4").tobytes())
        if self.lengths is not None:
            digest.update(self.lengths.astype("<f8").tobytes())
        for block, one in self.maps.items():
            for array in one.tensors(block).values():
                digest.update(json.dumps(array.shape).encode() + array.astype("<f4").tobytes())
        return digest.hexdigest()

    def refuse_maps(self, what: str) -> None:
        """Refuse a file of maps for what takes directions.

        Args:
            what: takes them, for the sentence.

        Raises:
            SteeringError: where it holds maps.
        """
        if self.maps:
            raise SteeringError(f"the vector file holds maps of low rank, and {what} takes directions: name another")

    def save(self, path: str | Path) -> Path:
        """Write the vector in the format of the path's suffix, whole or not at all."""
        return save(path, self.passport, self.tensors)

    @classmethod
    def load(cls, path: str | Path) -> SteeringVector:
        """Read a vector file of one site.

        Raises:
            SteeringError: one sentence that names the file, when it is missing, truncated, hostile or contradictory,
                and for a file of several sites, which `load_vector` reads.
        """
        vectors = read_sites(path)
        if len(vectors) > 1:
            there = ", ".join(one.site for one in vectors)
            raise SteeringError(f"{path}: it holds directions of several sites ({there}), and here one is read")
        return vectors[0]


def save(path: str | Path, passport: dict[str, Any], directions: dict[Place, np.ndarray]) -> Path:
    """Write passport and directions in the format of the path's suffix, whole or not at all."""
    path = Path(os.path.expanduser(path))
    write = writer(path.suffix)
    if write is None:
        there = " or ".join(filter(writer, suffixes()))
        raise SteeringError(f"{shortened(path)}: a steering vector is saved as {there}, not {shortened(path.suffix)!r}")
    return write_whole(path, lambda part: write(part, passport, directions))


def read_sites(path: str | Path) -> tuple[SteeringVector, ...]:
    """The vectors of a file, one per site, in the order of `SITES`; each has the file's passport, with what it says of
    its own site in the place of `sites`.

    Raises:
        SteeringError: as `SteeringVector.load`.
    """
    path = Path(os.path.expanduser(path))
    if path.suffix not in suffixes():
        raise SteeringError(
            f"{shortened(path)}: a steering vector is a {' or '.join(suffixes())} file, not {shortened(path.suffix)!r}"
        )
    if is_folder(path) or not os.path.exists(path):
        raise SteeringError(f"{shortened(path)}: {'this is a folder' if is_folder(path) else 'no such file'}")
    refuse_unreadable(path, "directions")
    try:
        return _sites_of(*reader(path)(path))
    except SteeringError as error:
        raise SteeringError(f"{path}: {error}") from None
    except MemoryError:
        raise
    except Exception as error:  # a damaged file makes safetensors, zipfile and torch raise nearly anything
        raise SteeringError(f"{path}: not a readable {path.suffix} file ({_first_line(error)})") from None


def _sites_of(passport: Any, by_place: dict[Place, np.ndarray]) -> tuple[SteeringVector, ...]:
    """The vectors of what a file says."""
    maps = maps_of({str(name): array for name, array in by_place.items() if split(name)[0] in PARTS})
    by_place = {place: array for place, array in by_place.items() if split(place)[0] not in PARTS}
    if not by_place:
        raise SteeringError("it holds no direction.N tensor")
    by_site: dict[str, dict[int, np.ndarray]] = {site: {} for site in SITES}
    for place in in_order(by_place):
        site, layer = split(place)
        by_site[site][layer] = by_place[place]
    there = {site: rows for site, rows in by_site.items() if rows}
    if maps and len(there) > 1:
        raise SteeringError(f"a file of maps of low rank is of one site, and this one is of {', '.join(there)}")
    _check_parent(passport)
    said = passports(passport)
    if list(said) != list(there):
        raise SteeringError(
            f"its passport says directions of {', '.join(said)}, and its tensors are of {', '.join(there)}"
        )
    found = []
    for site, rows in there.items():
        shapes = sorted({direction.shape for direction in rows.values()})
        if len(shapes) > 1:
            one, other = (" x ".join(map(str, shape)) for shape in (shapes[0], shapes[1]))
            raise SteeringError(f"all directions must have the same width, got {one} and {other}")
        found.append(SteeringVector(np.stack(list(rows.values())), tuple(rows), said[site], maps))
    return tuple(found)


def passports(passport: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Site -> what a file's passport says of it, as if it were alone there, in the order of `SITES`."""
    if "sites" not in passport:
        said = passport.get("site")
        return {said if isinstance(said, str) and said in SITES else DEFAULT: passport}
    sites, common = passport["sites"], {key: said for key, said in passport.items() if key != "sites"}
    if not isinstance(sites, dict) or not all(one in SITES and isinstance(said, dict) for one, said in sites.items()):
        raise SteeringError(f"the passport says sites {brief(sites)}, expected an object of {', '.join(SITES)}")
    return {site: common | ({} if site == DEFAULT else {"site": site}) | sites[site] for site in SITES if site in sites}


def _check_parent(passport: Any) -> None:
    """Refuse a passport without a parent of name and shape."""
    parent = passport.get("parent") if isinstance(passport, dict) else None
    if not isinstance(parent, dict) or not {"name", "hidden_size", "num_blocks"} <= parent.keys():
        raise SteeringError("the passport must hold `parent` with `name`, `hidden_size` and `num_blocks`")
    for key, kind in {"name": str, "hidden_size": int, "num_blocks": int}.items():
        if type(parent[key]) is not kind:  # a bool is an int to isinstance
            raise SteeringError(f"the passport says {key} {brief(parent[key])}, expected {kind.__name__}")


def _is_plain_json(value: Any) -> bool:
    """Whether `value` can be written into result files, too, whose writer gives up on what it cannot encode."""
    try:
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
        return _nesting(value) <= MAX_NESTING
    except (TypeError, ValueError, RecursionError):
        return False


def _nesting(value: Any) -> int:
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return 1 + max(map(_nesting, parts), default=0)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
