"""What `torch.save` and pickle wrote, as plain values and arrays; no name in it is looked up and no code of it runs."""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.vectors.foreign.containers.arrays import SIZES, decode
from lm_eval_steer.vectors.foreign.containers.pickles import MOST, Made, Name, Outside, read_pickle

_LEGACY = 0x1950A86A20F9469CFC6C
"""The number that a file of torch before 1.6 begins with, as a pickle of its own."""
_DEPTH = 64
_STORAGES = {"DoubleStorage": "F64", "FloatStorage": "F32", "HalfStorage": "F16", "BFloat16Storage": "BF16"}
_NUMPY = {"f8": "F64", "f4": "F32", "f2": "F16"}
_MAPPINGS = ("collections.OrderedDict", "collections.defaultdict", "builtins.dict")
_ARRAYS = ("numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct")
_SCALARS = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
_BUFFERS = ("numpy.core.numeric._frombuffer", "numpy._core.numeric._frombuffer")
_TENSORS = ("torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor")

Storage = Callable[[str], bytes]
"""Key of a storage -> its bytes."""


def read_torch(path: Path) -> Any:
    """The content of a file: tables, lists, texts, numbers, arrays (float32, or float64 of such), and for every other
    object a `Made` that names it.

    Raises:
        SteeringError: for a damaged file, one that torch.save would not write, and sizes that it does not hold.
    """
    raw = path.read_bytes()
    try:
        if raw.startswith(b"PK\x03\x04"):
            return _read_zip(raw)
        return _read_legacy(raw)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError, RecursionError) as error:
        if isinstance(error, SteeringError):
            raise
        raise SteeringError("this file of torch.save is damaged") from None
    except (zipfile.BadZipFile, NotImplementedError, EOFError, RuntimeError):
        raise SteeringError("this file of torch.save is damaged") from None


def _read_zip(raw: bytes) -> Any:
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        entries = archive.infolist()
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise SteeringError("it holds compressed entries, which torch.save never writes")
        if sum(entry.file_size for entry in entries) > len(raw):
            raise SteeringError("its entries overlap, which torch.save never writes")
        names = [entry.filename for entry in entries if entry.filename.endswith("/data.pkl")]
        if len(names) != 1:
            raise SteeringError("it is a zip file without one data.pkl, which torch.save always writes")
        folder = names[0].removesuffix("data.pkl")
        if f"{folder}byteorder" in archive.namelist() and archive.read(f"{folder}byteorder") != b"little":
            raise SteeringError("its numbers are in big-endian order: save it again on a usual machine")
        content = read_pickle(io.BytesIO(archive.read(names[0])))
        return _Builder(lambda key: archive.read(f"{folder}data/{key}"), len(raw)).build(content)


def _read_legacy(raw: bytes) -> Any:
    file = io.BytesIO(raw)
    first = read_pickle(file)
    if first != _LEGACY:  # of pickle itself, and nothing lies beside it
        return _Builder(_nothing_beside, len(raw)).build(first)
    for _ in ("protocol", "system"):
        read_pickle(file)
    content, keys = read_pickle(file), read_pickle(file)
    sizes = _legacy_sizes(content)
    storages = {}
    for key in keys:
        count = int.from_bytes(file.read(8), "little", signed=True)
        if count < 0 or count * sizes[key] > len(raw):
            raise SteeringError("this file of torch.save is damaged")
        storages[key] = file.read(count * sizes[key])
    return _Builder(storages.__getitem__, len(raw)).build(content)


def _nothing_beside(key: str) -> bytes:
    raise SteeringError("it refers to numbers that it does not hold")


def _legacy_sizes(content: Any) -> dict[str, int]:
    """Key of each storage -> bytes of one number, from what the content says of it."""
    found: dict[str, int] = {}
    left, seen = [content], 0
    while left:
        seen += 1
        if seen + len(left) > MOST:
            raise SteeringError("its objects hold each other without end")
        one = left.pop()
        if isinstance(one, Outside):
            kind, key = one.identity[1:3]
            found[key] = SIZES[_storage_type(kind)]
        elif isinstance(one, Made):
            left += [one.arguments, one.state, *one.entries.values(), *one.items]
        elif isinstance(one, Mapping):
            left += one.values()
        elif isinstance(one, list | tuple):
            left += one
    return found


def _storage_type(kind: Any) -> str:
    name = kind.name if isinstance(kind, Name) and kind.module == "torch" else ""
    if name not in _STORAGES:
        told = str(kind)[:60]
        raise SteeringError(f"it holds numbers of {told}, expected float32, float16, bfloat16 or float64")
    return _STORAGES[name]


class _Builder:
    """Makes plain values of what pickles say.

    Args:
        storage: gives the bytes of a storage.
        size: bytes of the file, of which the arrays take some multiple at most.
    """

    def __init__(self, storage: Storage, size: int) -> None:
        self.storage = storage
        self.read: dict[tuple[str, str], np.ndarray] = {}
        self.nodes = MOST
        self.room = 8 * size + 2**20

    def build(self, value: Any, depth: int = 0) -> Any:
        self.nodes -= 1
        if self.nodes < 0 or depth > _DEPTH:
            raise SteeringError("its objects hold each other without end")
        below = depth + 1
        if isinstance(value, Mapping):
            return {key: self.build(item, below) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.build(item, below) for item in value]
        if not isinstance(value, Made):
            return value
        name = str(value.maker)
        if name in _TENSORS:
            return self.tensor(*value.arguments[:4])
        if name == "torch._utils._rebuild_parameter":
            return self.build(value.arguments[0], below)
        if name in _MAPPINGS:
            return {key: self.build(item, below) for key, item in value.entries.items()}
        if name in _ARRAYS and value.state is not None:
            return self.array(*value.state[1:5])
        if name in _BUFFERS:
            raw, dtype, shape, order = value.arguments
            return self.array(shape, dtype, order == "F", raw)
        if name == "torch.Size":
            return self.build(value.arguments[0], below)
        if name in _SCALARS:
            return float(self.array((), value.arguments[0], False, value.arguments[1]))
        state = self.build(value.state, below)
        return Made(value.maker, None, state, {}, [])

    def tensor(self, storage: Outside, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> np.ndarray:
        _, kind, key = storage.identity[:3]
        dtype = _storage_type(kind)
        if (key, dtype) not in self.read:
            raw = self.storage(key)
            count = len(raw) // SIZES[dtype]
            self.read[key, dtype] = decode(raw[: count * SIZES[dtype]], dtype, (count,), "a tensor")
        whole = self.read[key, dtype]
        count = len(whole)
        if len(shape) != len(strides) or len(shape) > 8 or min((*shape, *strides, offset), default=0) < 0:
            raise SteeringError(f"it holds a tensor of shape {list(shape)} and strides {list(strides)}")
        last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
        self.take(math.prod(shape))
        if math.prod(shape) and (last >= count or math.prod(shape) > count):
            raise SteeringError(f"it holds a tensor of shape {list(shape)} on {count} numbers")
        if not math.prod(shape):
            return whole[:0].reshape(shape)
        step = whole.itemsize
        return np.lib.stride_tricks.as_strided(whole[offset:], shape, [one * step for one in strides]).copy()

    def array(self, shape: tuple[int, ...], dtype: Made, fortran: bool, raw: Any) -> np.ndarray:
        kind = dtype.arguments[0] if isinstance(dtype, Made) and str(dtype.maker) == "numpy.dtype" else None
        order = dtype.state[1] if kind in _NUMPY and isinstance(dtype.state, tuple) else None
        if kind not in _NUMPY or order not in ("<", "|", "="):
            raise SteeringError(
                f"it holds an array of numpy of the type {str(kind)[:40]}, expected a float in usual order"
            )
        if isinstance(raw, Made) and str(raw.maker) == "_codecs.encode":  # bytes, as protocol 2 writes them
            raw = raw.arguments[0].encode("latin-1")
        self.take(math.prod(shape))
        values = decode(raw, _NUMPY[kind], shape, "an array of numpy")
        return np.ascontiguousarray(values.reshape(tuple(reversed(shape))).T) if fortran else values

    def take(self, count: int) -> None:
        self.room -= 8 * count
        if count < 0 or self.room < 0:
            raise SteeringError("its tensors take far more room than the file has")
