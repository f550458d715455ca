"""Places: a site of one block, as keys of tables and result files name it."""

from __future__ import annotations

from collections.abc import Iterable

DEFAULT = "block"
"""The site of vectors that say none."""

Place = int | str
"""The number of a block for its output; site and number, as in `mlp.3`, for every other site."""


def place_of(site: str, number: int) -> Place:
    """The place of a site.

    Args:
        site: a name in `SITES`.
        number: of the block; 0 where the model has one such site only.
    """
    return number if site == DEFAULT else f"{site}.{number}"


def split(place: Place) -> tuple[str, int]:
    """Site and number of a place."""
    if isinstance(place, int):
        return DEFAULT, place
    site, _, number = place.rpartition(".")
    return site, int(number)


def in_order(places: Iterable[Place]) -> list[Place]:
    """Outputs of blocks first, then the other sites by name, each by number."""
    return sorted(places, key=lambda place: (not isinstance(place, int), split(place)))
