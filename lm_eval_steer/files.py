"""Writing files whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from lm_eval_steer.errors import SteeringError


def refuse_unwritable(path: str | Path) -> None:
    """Check, before the work whose result goes to `path`, that it can be written there. Makes no folder.

    Raises:
        SteeringError: for a folder in its place, and for a folder around it that cannot be made or written to.
    """
    path = Path(path)
    if path.is_dir():
        raise SteeringError(f"{path} is a folder: name a file")
    try:
        around = next(folder for folder in path.absolute().parents if folder.exists())
        with tempfile.TemporaryFile(dir=around):
            pass
    except OSError as error:
        raise SteeringError(f"{path} cannot be written ({error.strerror}): name another place") from None


def write_whole(path: str | Path, write: Callable[[Path], object]) -> Path:
    """Call `write` on a temporary file beside `path`, flush it to disk and rename it onto `path`.

    A reader, and a run that was killed, sees the old file or the new one, never half of one.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    os.close(handle)
    part = Path(name)
    try:
        write(part)
        with open(part, "rb") as file:
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        part.chmod(0o666 & ~umask)
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    return path
