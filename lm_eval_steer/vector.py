"""SteeringVector: one unit direction per block of a parent model, and the passport that says where it comes from.

The file format is specified in docs/FORMAT.md. Reading a file never runs code from it.
"""

from __future__ import annotations

import hashlib
import json
import pickle
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.files import write_whole

FORMAT = "lm_eval_steer.vector"
FORMAT_VERSION = 1
SITE = "block_output"
UNIT_TOLERANCE = 1e-3
_KEY = "lm_eval_steer"  # the one metadata key of a .safetensors file, the one header key of a .pt file
_TENSOR_NAME = re.compile(r"direction\.(0|[1-9][0-9]{0,5})")


@dataclass(frozen=True, eq=False)
class SteeringVector:
    """Directions in the residual stream of a parent model.

    Attributes:
        directions: float32 [blocks, hidden], each row of length 1.
        layers: the parent's block index of each row, counted from 0, ascending. Row i was read at the output of
            block `layers[i]`, and that is where it is added.
        passport: what the file knows about itself, JSON-ready; `parent` with `name`, `hidden_size` and `num_blocks`
            is always there. docs/FORMAT.md lists the rest.

    Raises:
        SteeringError: at construction, when the fields contradict each other.
    """

    directions: np.ndarray
    layers: tuple[int, ...]
    passport: dict[str, Any]

    def __post_init__(self) -> None:
        directions = np.ascontiguousarray(self.directions)
        object.__setattr__(self, "directions", directions)
        object.__setattr__(self, "layers", tuple(int(layer) for layer in self.layers))
        if directions.dtype != np.float32 or directions.ndim != 2 or directions.shape[1] == 0:
            raise SteeringError(
                f"directions must be float32 of shape [blocks, hidden], got {directions.dtype} {list(directions.shape)}"
            )
        if len(self.layers) != len(directions) or not self.layers:
            raise SteeringError(f"{len(directions)} directions need as many layers and at least one: {self.layers}")
        if list(self.layers) != sorted(set(self.layers)) or self.layers[0] < 0:
            raise SteeringError(f"layers must be distinct, ascending and not negative, got {list(self.layers)}")
        parent = self.passport.get("parent") if isinstance(self.passport, dict) else None
        if not isinstance(parent, dict) or not {"name", "hidden_size", "num_blocks"} <= parent.keys():
            raise SteeringError("the passport must hold `parent` with `name`, `hidden_size` and `num_blocks`")
        if parent["hidden_size"] != directions.shape[1]:
            raise SteeringError(
                f"the directions are {directions.shape[1]} wide, the passport says hidden_size {parent['hidden_size']}"
            )
        if not isinstance(parent["num_blocks"], int) or self.layers[-1] >= parent["num_blocks"]:
            raise SteeringError(
                f"there is a direction for block {self.layers[-1]} "
                f"but the passport says num_blocks {parent['num_blocks']!r}"
            )
        if self.passport.get("site", SITE) != SITE:
            raise SteeringError(f"the passport says site {self.passport['site']!r}, this version steers {SITE!r} only")
        for layer, direction in zip(self.layers, directions, strict=True):
            if not np.isfinite(direction).all():
                raise SteeringError(f"direction.{layer} holds NaN or infinite numbers")
            length = float(np.linalg.norm(direction))
            if abs(length - 1) > UNIT_TOLERANCE:
                raise SteeringError(f"direction.{layer} has length {length:.4g}, expected 1")

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the directions and their layers: two files with the same fingerprint steer alike."""
        digest = hashlib.sha256(json.dumps([FORMAT, self.layers, self.directions.shape]).encode())
        digest.update(self.directions.astype("<f4").tobytes())
        return digest.hexdigest()

    def save(self, path: str | Path) -> Path:
        """Write the vector as .safetensors or .pt, whole or not at all."""
        path = Path(path)
        write = _WRITERS.get(path.suffix)
        if write is None:
            raise SteeringError(f"{path}: a steering vector is saved as .safetensors or .pt, not {path.suffix!r}")
        return write_whole(path, lambda part: write(self, part))

    @classmethod
    def load(cls, path: str | Path) -> SteeringVector:
        """Read a vector file.

        Raises:
            SteeringError: one sentence that names the file, when it is missing, truncated, hostile or contradictory.
        """
        path = Path(path)
        read = _READERS.get(path.suffix)
        if read is None:
            raise SteeringError(f"{path}: a steering vector is a .safetensors or .pt file, not {path.suffix!r}")
        if not path.is_file():
            raise SteeringError(f"{path}: no such file")
        try:
            header, tensors = read(path)
            return cls(*_assemble(header, tensors))
        except SteeringError as error:
            raise SteeringError(f"{path}: {error}") from None


def _header(vector: SteeringVector) -> str:
    header = {"format": FORMAT, "format_version": FORMAT_VERSION, "passport": vector.passport}
    return json.dumps(header, ensure_ascii=False, sort_keys=True, allow_nan=False)


def _assemble(header: Any, tensors: dict[str, Any]) -> tuple[np.ndarray, tuple[int, ...], dict[str, Any]]:
    """Check header and tensors of a file against the format and put them into the fields of a SteeringVector."""
    if not isinstance(header, str):
        raise SteeringError(f"not a steering vector of this project: there is no {_KEY!r} entry in its header")
    try:
        content = json.loads(header)
    except (ValueError, RecursionError):
        raise SteeringError(f"the {_KEY!r} entry of its header is not JSON") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise SteeringError(f"its header does not say format {FORMAT!r}")
    if content.get("format_version") != FORMAT_VERSION:
        raise SteeringError(
            f"format_version {content.get('format_version')!r}, this version reads {FORMAT_VERSION}: "
            "update lm_eval_steer or extract the vector again"
        )
    by_layer: dict[int, Any] = {}
    for name, tensor in tensors.items():
        match = _TENSOR_NAME.fullmatch(name)
        if match is None:
            raise SteeringError(f"unexpected tensor {name[:40]!r}, expected direction.N")
        by_layer[int(match[1])] = tensor
    if not by_layer:
        raise SteeringError("it holds no direction.N tensor")
    layers = tuple(sorted(by_layer))
    shapes = {tuple(tensor.shape) for tensor in by_layer.values()}
    if len(shapes) > 1 or len(shape := next(iter(shapes))) != 1:
        raise SteeringError(f"directions must all be of one shape [hidden], got {sorted(map(list, shapes))}")
    types = {str(tensor.dtype).removeprefix("torch.") for tensor in by_layer.values()}
    if types != {"float32"}:
        raise SteeringError(f"directions must be float32, got {', '.join(sorted(types))}")
    directions = np.empty((len(layers), shape[0]), dtype=np.float32)
    for row, layer in enumerate(layers):
        directions[row] = np.asarray(by_layer[layer])
    return directions, layers, content.get("passport")  # type: ignore[return-value]  # checked at construction


def _write_safetensors(vector: SteeringVector, path: Path) -> None:
    from safetensors.numpy import save_file

    # One metadata key only: the library writes several in random order, and the same vector should be the same bytes.
    save_file(_named(vector), path, metadata={_KEY: _header(vector)})


def _read_safetensors(path: Path) -> tuple[Any, dict[str, Any]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            header = (file.metadata() or {}).get(_KEY)
            # Other formats may hold types that numpy lacks: the header decides before a tensor is touched.
            tensors = {name: file.get_tensor(name) for name in file.keys()} if header is not None else {}  # noqa: SIM118
    except (SafetensorError, OSError, TypeError, ValueError) as error:
        raise SteeringError(f"not a readable .safetensors file ({_first_line(error)})") from None
    return header, tensors


def _write_pt(vector: SteeringVector, path: Path) -> None:
    import torch

    torch.save({_KEY: _header(vector)} | {name: torch.from_numpy(d) for name, d in _named(vector).items()}, path)


def _read_pt(path: Path) -> tuple[Any, dict[str, Any]]:
    import torch

    try:
        with zipfile.ZipFile(path) as archive:
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
                raise SteeringError("it holds compressed entries, which torch.save never writes")
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise SteeringError("it holds Python objects other than tensors and text, which are never loaded") from None
    except (zipfile.BadZipFile, OSError, EOFError, RuntimeError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, SteeringError):
            raise
        raise SteeringError(f"not a readable .pt file of torch.save ({_first_line(error)})") from None
    if not isinstance(content, dict):
        raise SteeringError(f"it holds a {type(content).__name__}, expected a dict with a {_KEY!r} entry")
    header = content.pop(_KEY, None)
    for name, tensor in content.items() if header is not None else ():
        if not isinstance(name, str) or not isinstance(tensor, torch.Tensor):
            raise SteeringError(f"unexpected entry {str(name)[:40]!r}, expected tensors named direction.N")
        if not tensor.is_contiguous() or tensor.layout is not torch.strided or tensor.is_meta:
            raise SteeringError(f"{name} is not a plain contiguous tensor")
    return header, content


def _named(vector: SteeringVector) -> dict[str, np.ndarray]:
    return {f"direction.{layer}": row for layer, row in zip(vector.layers, vector.directions, strict=True)}


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]


_WRITERS = {".safetensors": _write_safetensors, ".pt": _write_pt}
_READERS = {".safetensors": _read_safetensors, ".pt": _read_pt}
