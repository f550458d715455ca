"""What a file format of vectors is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lm_eval_steer.sites import Place

Content = tuple[Any, dict[Place, np.ndarray]]
"""A passport and the direction of each place, float32 [hidden] or [heads, head_dim], as a file says them: they are
checked afterwards. The place of a block's output is the block's number. Parts of maps of low rank have their names
(vectors/low_rank.py)."""

Read = Callable[[Path], Content]

Write = Callable[[Path, Mapping[str, Any], Mapping[Place, np.ndarray]], None]


@dataclass(frozen=True)
class Format:
    """A way in which a file holds a vector. Reading never runs code from a file.

    Attributes:
        suffix: of its files, with the dot.
        read: (path) -> passport and directions. It may raise anything for a damaged file; a SteeringError is shown as
            it is, behind the file's name.
        write: (path, passport, directions by place); the same content gives the same bytes. None for a format that is
            read only.
        recognises: (path) -> whether the content of a file with this suffix is of this format, for one that shares its
            suffix with another. A file that no format recognises is read by the first of its suffix.
    """

    suffix: str
    read: Read
    write: Write | None = None
    recognises: Callable[[Path], bool] | None = None
