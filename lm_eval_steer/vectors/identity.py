"""Which model it is: what a passport says of one, and what is known of one that runs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import PurePath
from typing import Any

_COMMIT = re.compile(r"[0-9a-f]{40}", re.ASCII)


@dataclass(frozen=True)
class Identity:
    """A model, as far as it is known.

    Attributes:
        name: id on the hub, or folder.
        revision: commit or branch.
        architecture: `model_type` of its text configuration.
        digest: of its weights (`weights_digest` of models/checkpoint.py).
    """

    name: str | None = None
    revision: str | None = None
    architecture: str | None = None
    digest: str | None = None

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> Identity:
        """What a passport says of a model."""
        return cls(**{field.name: said.get(field.name) for field in fields(cls)})

    def is_same(self, other: Identity) -> bool:
        """Whether two are one model: by their digests, where both are known, else by the last part of their names and
        by their revisions, where both are commits: a folder knows of none."""
        if self.digest and other.digest:
            return self.digest == other.digest
        if not self.name or not other.name or PurePath(self.name).name != PurePath(other.name).name:
            return False
        commits = {one.revision for one in (self, other) if one.revision and _COMMIT.fullmatch(one.revision)}
        return len(commits) < 2

    def told(self, blocks: int, width: int) -> str:
        """The model in words, with its shape: `org/child (llama, 30 blocks of width 576, revision main)`."""
        known = [self.architecture, f"{blocks} blocks of width {width}"]
        known += [self.revision and f"revision {self.revision[:12]}", self.digest and f"weights {self.digest[:8]}"]
        return f"{self.name or 'a model without a name'} ({', '.join(filter(None, known))})"


UNKNOWN = Identity()
"""A model of which nobody said which one it is: the same as no other."""
