"""Folders that are written whole or not at all, as single files are by files.py."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.files import is_folder, refuse_unwritable, said_by_the_system, unwritable
from lm_eval_steer.text import shortened


def refuse_filled(folder: str | Path) -> None:
    """Check, before the work, that a folder can be written at a place: that nothing is there, or an empty folder.

    Raises:
        SteeringError: names it, with what to do.
    """
    folder = Path(folder)
    if os.path.lexists(folder) and (not is_folder(folder) or any(folder.iterdir())):
        raise SteeringError(f"{shortened(folder)} exists and is not empty: name an empty or a new folder")
    refuse_unwritable(folder / "file" if is_folder(folder) else folder)


def write_folder(folder: str | Path, write: Callable[[Path], object]) -> Path:
    """Call `write` on an empty folder beside `folder` and move that to its place; what fails leaves nothing behind.

    Raises:
        SteeringError: where the system refuses it, a full disk above all, and where something is in its place.
    """
    folder = Path(folder)
    refuse_filled(folder)
    part: Path | None = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
        write(part)
        for file in part.rglob("*"):  # safetensors writes its files for their owner only
            file.chmod(0o755 if file.is_dir() else 0o644)
        part.chmod(0o755)
        if folder.exists():
            folder.rmdir()
        part.rename(folder)
    except BaseException as error:
        if part is not None:
            shutil.rmtree(part, ignore_errors=True)
        refused = said_by_the_system(error) if isinstance(error, OSError | RuntimeError | SafetensorError) else None
        if refused is None:
            raise
        raise unwritable(folder, refused) from None
    return folder
