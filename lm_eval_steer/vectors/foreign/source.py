"""A file or folder of another tool, opened by what it holds and not by what it is called."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.files import is_file, is_folder, read_json, refuse_unreadable
from lm_eval_steer.text import shortened
from lm_eval_steer.vectors.foreign.containers.gguf_file import MAGIC, read_gguf
from lm_eval_steer.vectors.foreign.containers.safetensors_file import read_safetensors
from lm_eval_steer.vectors.foreign.containers.torch_file import read_torch


@dataclass(frozen=True, eq=False)
class Source:
    """An opened file or folder.

    Attributes:
        path: where it lies.
        container: what holds its content: `gguf`, `safetensors`, `torch`, `numpy`, `json` or `folder`.
        content: a `Gguf`, `Tensors`, plain values with arrays, an array, or a JSON value; of a folder its path.
        files: all files that were read so far, those beside it and in it, too.
    """

    path: Path
    container: str
    content: Any
    files: list[Path] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        """The folder, or the one that the file lies in."""
        return self.path if self.container == "folder" else self.path.absolute().parent

    def open(self, name: str | Path) -> Source:
        """Another file in the folder, or wherever the path leads.

        Raises:
            SteeringError: as `open_source`.
        """
        found = open_source(self.folder / name)
        self.files.append(found.path)
        return found

    def json(self, name: str) -> Any:
        """The content of a JSON file in the folder; None where there is no such file.

        Raises:
            SteeringError: for one that is damaged.
        """
        path = self.folder / name
        if not is_file(path):
            return None
        self.files.append(path)
        return read_json(path, "settings")


def open_source(path: Path) -> Source:
    """Open a file by its first bytes, or a folder.

    Raises:
        SteeringError: names the file, where it is missing or damaged, or no container that vectors come in.
    """
    if is_folder(path):
        return Source(path, "folder", path)
    refuse_unreadable(path, "directions")
    try:
        container, content = _open(path)
    except SteeringError as error:
        told = str(error)
        raise SteeringError(told if shortened(path) in told else f"{shortened(path)}: {told}") from None
    return Source(path, container, content, [path])


def _open(path: Path) -> tuple[str, Any]:
    with path.open("rb") as file:
        begin = file.read(64)
    length = int.from_bytes(begin[:8], "little")
    if begin.startswith(b"version https://git-lfs"):
        raise SteeringError("this is Git LFS's pointer to a file and not the file: fetch it with git lfs pull")
    if begin.startswith(MAGIC):
        return "gguf", read_gguf(path)
    if begin[8:9] == b"{" and 0 < length <= path.stat().st_size - 8:
        return "safetensors", read_safetensors(path)
    if begin.startswith(b"PK\x03\x04") or (begin[:1] == b"\x80" and begin[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05")):
        return "torch", read_torch(path)
    if begin.startswith(b"\x93NUMPY"):
        return "numpy", _read_numpy(path)
    if begin.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"{", b"["):
        return "json", read_json(path, "directions")
    raise SteeringError("this is no file that steering vectors come in: GGUF, safetensors, torch, numpy or JSON")


def _read_numpy(path: Path) -> np.ndarray:
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception:  # a damaged header makes numpy raise nearly anything
        raise SteeringError("this file of numpy is damaged, or holds other objects than numbers") from None
    if found.dtype.kind != "f" or found.dtype.itemsize > 8:
        raise SteeringError(f"this file of numpy holds {found.dtype}, expected float numbers")
    return np.array(found, dtype=np.float64 if found.dtype.itemsize == 8 else np.float32)
