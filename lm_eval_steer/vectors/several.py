"""SeveralSites: the directions of several sites that one file holds (format version 2)."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.sites import SITES
from lm_eval_steer.vectors.vector import SteeringVector, read_sites, save


@dataclass(frozen=True, eq=False)
class SeveralSites:
    """Vectors of several sites of one parent, read together.

    Attributes:
        vectors: two or more, in the order of `SITES`.

    Raises:
        SteeringError: at construction, where two are of one site, of different parents, or were transferred.
    """

    vectors: tuple[SteeringVector, ...]

    def __post_init__(self) -> None:
        if self.sites != tuple(site for site in SITES if site in self.sites):
            raise SteeringError(f"several sites are held once each and in their order, got {', '.join(self.sites)}")
        parents = [one.passport["parent"] for one in self.vectors]
        if any(parent != parents[0] for parent in parents):
            raise SteeringError(f"several sites are of one parent, got {parents[0]['name']} and {parents[-1]['name']}")
        if moved := [one.site for one in self.vectors if one.transfer is not None]:
            raise SteeringError(f"the directions of {moved[0]} were transferred, and several sites are of one parent")

    @property
    def sites(self) -> tuple[str, ...]:
        """Where the directions were read: names in `SITES`."""
        return tuple(one.site for one in self.vectors)

    def at(self, site: str) -> SteeringVector:
        """The directions of a site that there is."""
        return self.vectors[self.sites.index(site)]

    @property
    def transfer(self) -> None:
        """Nothing: directions of several sites are the parent's own."""
        return None

    @cached_property
    def passport(self) -> dict[str, Any]:
        """What the file knows about itself: what all sites have in common, and under `sites` what is of one."""
        first, *others = (one.passport for one in self.vectors)
        common = {
            key: said for key, said in first.items() if key != "site" and all(one.get(key) == said for one in others)
        }
        own = {
            one.site: {key: said for key, said in one.passport.items() if key != "site" and key not in common}
            for one in self.vectors
        }
        return common | {"sites": own}

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the fingerprints of all: two files with the same fingerprint steer alike."""
        return hashlib.sha256(json.dumps([one.fingerprint for one in self.vectors]).encode()).hexdigest()

    def save(self, path: str | Path) -> Path:
        """Write all of them in the format of the path's suffix, whole or not at all."""
        return save(path, self.passport, {p: direction for one in self.vectors for p, direction in one.tensors.items()})


AnyVector = SteeringVector | SeveralSites
"""What a vector file holds."""


def read_vector(path: str | Path) -> AnyVector:
    """The vector of a file of this project.

    Raises:
        SteeringError: as `read_sites`.
    """
    return together(read_sites(path))


def together(vectors: tuple[SteeringVector, ...]) -> AnyVector:
    """Vectors of the sites of one file as one thing."""
    return vectors[0] if len(vectors) == 1 else SeveralSites(vectors)
