"""What of models and files goes into the digest of a stage: what they hold, not where they lie."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.models.checkpoint import PARTS, checkpoint_digest
from lm_eval_steer.models.neutral import NEUTRAL
from lm_eval_steer.text import shortened

MISSING = "missing"

_LARGEST = 64 * 2**20
"""Bytes of a file in a folder of tasks that count whole; of a larger one its size does."""


def identity_of_model(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """A model by its checkpoint and whatever else of its arguments changes what it does.

    Where it lies does not matter. One on the hub that is not on this machine yet counts by name and revision.
    """
    checkpoint = _checkpoint(tuple(sorted((key, str(value)) for key, value in arguments.items())))
    known = ("pretrained", "revision", *PARTS) if checkpoint else ()
    others = {key: value for key, value in arguments.items() if key not in NEUTRAL and key not in known}
    return {"checkpoint": checkpoint, "arguments": others}


@cache
def _checkpoint(arguments: tuple[tuple[str, str], ...]) -> str | None:
    return checkpoint_digest(dict(arguments))


@cache
def identity_of_files(path: str) -> str:
    """SHA-256 of a file, or of all files below a folder with their names; `missing` where there is neither.

    Raises:
        SteeringError: for what cannot be read.
    """
    place = Path(os.path.expanduser(path))
    try:
        if not place.exists():
            return MISSING
        if not place.is_dir():
            return hashlib.sha256(place.read_bytes()).hexdigest()
        sha = hashlib.sha256()
        for file in sorted(file for file in place.rglob("*") if file.is_file() and "__pycache__" not in file.parts):
            size = file.stat().st_size
            content = file.read_bytes() if size <= _LARGEST else b""
            sha.update(repr((file.relative_to(place).as_posix(), size, hashlib.sha256(content).hexdigest())).encode())
        return sha.hexdigest()
    except OSError as error:
        raise SteeringError(f"{shortened(path)}, which the study names, cannot be read ({error.strerror})") from None
