"""A stage: one thing that a study has to do, in a process of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

KINDS = ("extract", "states", "transfer", "sweep", "leaderboard", "report")
"""Of stages, in the order of what needs what."""


@dataclass(frozen=True)
class Stage:
    """One thing to do.

    Attributes:
        kind: one of `KINDS`.
        about: what it is about, `parent`, `child`, `model`, `task`, `map`, as far as each is one thing.
        arguments: what the kind takes (grid/work.py), JSON-ready; vectors by the folder of the stage that makes them.
        needs: folders of the stages that must be done before.
        resources: `gpus`, `hours`, `partition`.
        digest: SHA-256 of all that determines what it leaves.
    """

    kind: str
    about: Mapping[str, str]
    arguments: Mapping[str, Any]
    needs: tuple[str, ...]
    resources: Mapping[str, Any]
    digest: str

    @property
    def folder(self) -> str:
        """Name of its folder below `stages/`."""
        return f"{self.kind}-{self.digest[:16]}"

    @property
    def name(self) -> str:
        """In words: `sweep smollm2 arith_steer`."""
        return " ".join([self.kind, *self.about.values()])
