"""setuptools' build backend, plus one file: `lm_eval_steer.pth` at the root of every wheel.

setuptools has no option for a file that belongs directly into site-packages. This one starts `lm_eval_steer.plugin`
with Python (see there), in a normal and in an editable installation. It is listed in RECORD, so pip removes it too.
"""

import base64
import csv
import hashlib
import io
import os
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from setuptools import build_meta
from setuptools.build_meta import (
    build_sdist,
    get_requires_for_build_editable,
    get_requires_for_build_sdist,
    get_requires_for_build_wheel,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]

PTH = Path(__file__).resolve().parent.parent / "lm_eval_steer" / "plugin" / "lm_eval_steer.pth"


def build_wheel(
    wheel_directory: str, config_settings: dict[str, Any] | None = None, metadata_directory: str | None = None
) -> str:
    """PEP 517: setuptools' wheel with the start-up line."""
    name = build_meta.build_wheel(wheel_directory, config_settings, metadata_directory)
    add_to_root(Path(wheel_directory, name), PTH)
    return name


def build_editable(
    wheel_directory: str, config_settings: dict[str, Any] | None = None, metadata_directory: str | None = None
) -> str:
    """PEP 660: setuptools' editable wheel with the start-up line."""
    name = build_meta.build_editable(wheel_directory, config_settings, metadata_directory)
    add_to_root(Path(wheel_directory, name), PTH)
    return name


def add_to_root(wheel: Path, file: Path) -> None:
    """Add `file` to the root of `wheel` and to its RECORD. The wheel is replaced when the new one is complete."""
    content = file.read_bytes()
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow([file.name, f"sha256={digest}", len(content)])

    handle, unfinished = tempfile.mkstemp(dir=wheel.parent, suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as stream, zipfile.ZipFile(wheel) as old, zipfile.ZipFile(stream, "w") as new:
            record = next(entry for entry in old.infolist() if entry.filename.endswith(".dist-info/RECORD"))
            for entry in old.infolist():
                if entry is not record:
                    new.writestr(entry, old.read(entry))
            added = zipfile.ZipInfo(file.name, record.date_time)
            added.compress_type, added.external_attr = record.compress_type, record.external_attr
            new.writestr(added, content)
            new.writestr(record, old.read(record) + line.getvalue().encode())
        os.chmod(unfinished, wheel.stat().st_mode)
        os.replace(unfinished, wheel)
    except BaseException:
        os.unlink(unfinished)
        raise
