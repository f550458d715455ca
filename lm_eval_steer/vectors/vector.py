"""SteeringVector: one unit direction per block of a parent model, and the passport that says where it comes from.

The file format is specified in docs/FORMAT.md. Reading a file never runs code from it.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.files import is_folder, refuse_unreadable, write_whole
from lm_eval_steer.text import shortened

FORMAT = "lm_eval_steer.vector"
FORMAT_VERSION = 1
SITE = "block_output"
UNIT_TOLERANCE = 1e-3
MAX_NESTING = 32
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
        for key, kind in {"name": str, "hidden_size": int, "num_blocks": int}.items():
            if type(parent[key]) is not kind:  # a bool is an int to isinstance
                raise SteeringError(f"the passport says {key} {_short(parent[key])}, expected {kind.__name__}")
        if not _is_plain_json(self.passport):
            raise SteeringError(f"the passport is not plain JSON of at most {MAX_NESTING} levels without NaN")
        for key, only in {"site": SITE, "layer_base": 0}.items():
            if self.passport.get(key, only) != only:
                raise SteeringError(
                    f"the passport says {key} {_short(self.passport[key])}, this version takes {only!r} only"
                )
        if parent["hidden_size"] != directions.shape[1]:
            raise SteeringError(
                f"the directions are {directions.shape[1]} wide, the passport says hidden_size {parent['hidden_size']}"
            )
        if self.layers[-1] >= parent["num_blocks"]:
            raise SteeringError(
                f"there is a direction for block {self.layers[-1]}, "
                f"but the passport says num_blocks {parent['num_blocks']} and blocks count from 0"
            )
        for layer, direction in zip(self.layers, directions, strict=True):
            if not np.isfinite(direction).all():
                raise SteeringError(f"direction.{layer} holds NaN or infinite numbers")
            length = float(np.linalg.norm(direction.astype(np.float64)))
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
        path = Path(os.path.expanduser(path))
        write = _WRITERS.get(path.suffix)
        if write is None:
            raise SteeringError(
                f"{shortened(path)}: a steering vector is saved as .safetensors or .pt, not {shortened(path.suffix)!r}"
            )
        return write_whole(path, lambda part: write(self, part))

    @classmethod
    def load(cls, path: str | Path) -> SteeringVector:
        """Read a vector file.

        Raises:
            SteeringError: one sentence that names the file, when it is missing, truncated, hostile or contradictory.
        """
        path = Path(os.path.expanduser(path))
        read = _READERS.get(path.suffix)
        if read is None:
            raise SteeringError(
                f"{shortened(path)}: a steering vector is a .safetensors or .pt file, not {shortened(path.suffix)!r}"
            )
        if is_folder(path) or not os.path.exists(path):
            raise SteeringError(f"{shortened(path)}: {'this is a folder' if is_folder(path) else 'no such file'}")
        refuse_unreadable(path, "directions")
        try:
            passport, by_layer = read(path)
            layers = tuple(sorted(by_layer))
            widths = sorted({len(direction) for direction in by_layer.values()})
            if not layers:
                raise SteeringError("it holds no direction.N tensor")
            if len(widths) > 1:
                raise SteeringError(f"all directions must have the same width, got {widths[0]} and {widths[1]}")
            return cls(np.stack([by_layer[layer] for layer in layers]), layers, passport)
        except SteeringError as error:
            raise SteeringError(f"{path}: {error}") from None
        except MemoryError:
            raise
        except Exception as error:  # a damaged file makes safetensors, zipfile and torch raise nearly anything
            raise SteeringError(f"{path}: not a readable {path.suffix} file ({_first_line(error)})") from None


def _header(vector: SteeringVector) -> str:
    header = {"format": FORMAT, "format_version": FORMAT_VERSION, "passport": vector.passport}
    return json.dumps(header, ensure_ascii=False, sort_keys=True)


def _read_header(header: Any) -> Any:
    """The passport in a file's header, once the header has shown that the file is of this format and version."""
    if not isinstance(header, str):
        raise SteeringError(f"not a steering vector of this project: there is no {_KEY!r} entry in its header")
    try:
        content = json.loads(header)
    except (ValueError, RecursionError):
        raise SteeringError(f"the {_KEY!r} entry of its header is not JSON of at most {MAX_NESTING} levels") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise SteeringError(f"its header does not say format {FORMAT!r}")
    version = content.get("format_version")
    if type(version) is not int or version != FORMAT_VERSION:
        raise SteeringError(
            f"format_version {_short(version)}, this version reads {FORMAT_VERSION}: "
            "update lm_eval_steer or extract the vector again"
        )
    return content.get("passport")


def _read_layer(name: object, dtype: str, shape: Sequence[int]) -> int:
    """N of a tensor direction.N, decided by its description, before its numbers are read."""
    match = _TENSOR_NAME.fullmatch(name) if isinstance(name, str) else None
    if match is None:
        raise SteeringError(f"unexpected tensor {_short(name)}, expected direction.N with N = 0, 1, 2, ...")
    if dtype not in ("float32", "F32"):
        raise SteeringError(f"{name} is {dtype}, expected float32")
    if len(shape) != 1 or not shape[0]:
        raise SteeringError(f"{name} has shape {_short(list(shape))}, expected [hidden]")
    return int(match[1])


def _write_safetensors(vector: SteeringVector, path: Path) -> None:
    from safetensors.numpy import save_file

    # One metadata key only: the library writes several in random order, and the same vector should be the same bytes.
    save_file(_named(vector), path, metadata={_KEY: _header(vector)})


def _read_safetensors(path: Path) -> tuple[Any, dict[int, np.ndarray]]:
    from safetensors import safe_open

    with safe_open(path, framework="np") as file:
        passport = _read_header((file.metadata() or {}).get(_KEY))
        by_layer = {}
        for name in file.keys():  # noqa: SIM118  # not a dict
            described = file.get_slice(name)
            layer = _read_layer(name, described.get_dtype(), described.get_shape())
            by_layer[layer] = file.get_tensor(name)
    return passport, by_layer


def _write_pt(vector: SteeringVector, path: Path) -> None:
    import torch

    content = {_KEY: _header(vector)} | {name: torch.from_numpy(d) for name, d in _named(vector).items()}
    with path.open("wb") as file:  # given a path, torch.save would write the path's name into the file
        torch.save(content, file)


def _read_pt(path: Path) -> tuple[Any, dict[int, np.ndarray]]:
    import torch

    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    with path.open("rb") as file:
        if file.read(4) != b"PK\x03\x04":  # zipfile looks at a file's end, torch at its beginning
            raise SteeringError("it begins with something else than the zip file of torch.save")
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise SteeringError("it holds compressed entries, which torch.save never writes")
    if sum(entry.file_size for entry in entries) > path.stat().st_size:
        raise SteeringError("its entries overlap, which torch.save never writes")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise SteeringError(
            "it is damaged or holds other Python objects than tensors and text, which are never loaded"
        ) from None
    if not isinstance(content, dict):
        raise SteeringError(f"it holds a {type(content).__name__}, expected a dict with a {_KEY!r} entry")
    passport = _read_header(content.pop(_KEY, None))
    by_layer = {}
    for name, tensor in content.items():
        if type(tensor) is not torch.Tensor or tensor.layout is not torch.strided or tensor.is_meta:
            raise SteeringError(f"{_short(name)} is not a plain tensor")
        layer = _read_layer(name, str(tensor.dtype).removeprefix("torch."), tensor.shape)
        if not tensor.is_contiguous():  # a single number can pose as a tensor of any size
            raise SteeringError(f"{name} is not contiguous")
        by_layer[layer] = tensor.detach().resolve_neg().numpy()
    return passport, by_layer


def _named(vector: SteeringVector) -> dict[str, np.ndarray]:
    return {f"direction.{layer}": row for layer, row in zip(vector.layers, vector.directions, strict=True)}


def _is_plain_json(value: Any) -> bool:
    """Whether `value` can be written into result files, too, whose writer gives up on what it cannot encode."""
    try:
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
        return _nesting(value) <= MAX_NESTING
    except (TypeError, ValueError, RecursionError):
        return False


def _nesting(value: Any) -> int:
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return 1 + max(map(_nesting, parts), default=0)


def _short(value: object) -> str:
    return repr(value)[:60]


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]


_WRITERS = {".safetensors": _write_safetensors, ".pt": _write_pt}
_READERS = {".safetensors": _read_safetensors, ".pt": _read_pt}
