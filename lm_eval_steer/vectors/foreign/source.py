"""A file or folder of another tool, opened by what it holds and not by what it is called."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, eq=False)
class Source:
    """An opened file or folder.

    Attributes:
        path: where it lies.
        container: what holds its content: `gguf`, `safetensors`, `torch`, `numpy`, `json` or `folder`.
        content: as the container reads it; of a folder its path.
    """

    path: Path
    container: str
    content: Any
