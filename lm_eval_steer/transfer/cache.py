"""States of a model on texts, in a folder: float16 with a scale for each row, so that no value is too large.

    meta.json    what they are states of (`Meta`); written first
    places.npz   of each text its first row and the number of its rows; for `all` the end of each row's token
    states.f16   [blocks, rows, width], rows in the order in which texts are read
    scales.f32   [blocks, rows], powers of two: a state is its row of states.f16 times its scale
    done.txt     how many texts are whole in these files, and of each block the CRC-32 of their states and of their
                 scales; the last line counts

A text counts as done once its rows are on the disk, so that a run that was killed goes on behind it. A block is
compared with its checksums when it is read first.
"""

from __future__ import annotations

import json
import os
import shutil
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO
from zipfile import BadZipFile

import numpy as np

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.files import is_file, read_json, unwritable, write_whole
from lm_eval_steer.text import shortened

VERSION = 2
_STATE, _SCALE = np.dtype("<f2"), np.dtype("<f4")
_TOP = 15
"""A scaled row's largest value lies between 2**14 and 2**15: as far from float16's smallest numbers as it goes."""


def default_folder() -> Path:
    """Where states are kept where nothing else is said."""
    around = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(around).expanduser() / "lm_eval_steer" / "states"


@dataclass(frozen=True)
class Meta:
    """What states are of.

    Attributes:
        model: name, revision, architecture, num_blocks, hidden_size, dtype and digest, as a passport has them.
        texts_sha256: of the texts.
        texts: how many.
        rows: how many over all texts.
        tokens: which tokens were read (transfer/tokens.py).
        apply_chat_template: whether through the model's chat template.
        version: of the files.
    """

    model: dict[str, Any]
    texts_sha256: str
    texts: int
    rows: int
    tokens: str
    apply_chat_template: bool
    version: int = VERSION

    @property
    def shape(self) -> tuple[int, int, int]:
        """Blocks, rows, width."""
        return int(self.model["num_blocks"]), self.rows, int(self.model["hidden_size"])


@dataclass(frozen=True, eq=False)
class Places:
    """Which rows are of which text.

    Attributes:
        first: int64 [texts], the first row of each.
        count: int64 [texts], the number of its rows.
        ends: int64 [rows], for `all` the number of characters of its text up to the end of a row's token; else 0.
    """

    first: np.ndarray
    count: np.ndarray
    ends: np.ndarray

    @classmethod
    def in_order(cls, counts: Sequence[int], ends: Sequence[Sequence[int]], order: Sequence[int]) -> Places:
        """Those of texts with so many rows each, which are read in an order."""
        count = np.array(counts, dtype=np.int64)
        first = np.zeros_like(count)
        first[list(order)] = np.cumsum([0, *count[list(order)]])[:-1]
        return cls(first, count, np.array([end for text in order for end in ends[text]], dtype=np.int64))

    @classmethod
    def read(cls, folder: Path) -> Places:
        """Those that `write` wrote."""
        with np.load(folder / "places.npz") as found:
            return cls(**found)

    def write(self, folder: Path) -> None:
        """Keep them in a folder."""
        np.savez(folder / "places.npz", **vars(self))

    def same(self, other: Places) -> bool:
        """Whether the same rows are of the same texts."""
        return all(np.array_equal(one, two) for one, two in zip(vars(self).values(), vars(other).values(), strict=True))


class States:
    """Whole states of one model on texts; they stay on the disk until they are asked for."""

    def __init__(self, folder: Path, meta: Meta, sums: Sequence[tuple[int, int]]) -> None:
        self.folder, self.meta = folder, meta
        self.places = Places.read(folder)
        self._sums = dict(enumerate(sums))  # of blocks that were not read yet

    @property
    def model(self) -> dict[str, Any]:
        """The model, as a passport has it."""
        return self.meta.model

    @property
    def name(self) -> str:
        """Of the model."""
        return str(self.model["name"])

    @property
    def blocks(self) -> int:
        """Number of blocks."""
        return self.meta.shape[0]

    @property
    def width(self) -> int:
        """Width of the residual stream."""
        return self.meta.shape[2]

    @property
    def n(self) -> int:
        """Number of texts."""
        return self.meta.texts

    def rows(self, block: int, numbers: np.ndarray | slice = slice(None)) -> np.ndarray:
        """States behind a block: float32 [rows, width].

        Args:
            block: from 0.
            numbers: of rows, in the order wanted (`places` says which are of which text); all where none are named.

        Raises:
            SteeringError: where somebody else wrote to the files.
        """
        if block in self._sums:
            found = tuple(zlib.crc32(of_all[block].data) for of_all in (self._states, self._scales))
            if found != self._sums[block]:
                raise SteeringError(
                    f"the states of {self.name} behind block {block} are not as they were written: remove the folder "
                    f"{shortened(self.folder)}, and they are read anew"
                )
            del self._sums[block]
        return self._states[block, numbers].astype(np.float32) * self._scales[block, numbers, None]

    @cached_property
    def _states(self) -> np.ndarray:
        return np.memmap(self.folder / "states.f16", _STATE, "r", shape=self.meta.shape)

    @cached_property
    def _scales(self) -> np.ndarray:
        return np.fromfile(self.folder / "scales.f32", _SCALE).reshape(self.meta.shape[:2])


def open_states(folder: Path) -> States | None:
    """The states in a folder; None where they are not whole."""
    meta = _read_meta(folder)
    if meta is None:
        return None
    done, sums = _done(folder, meta)
    return States(folder, meta, sums) if done == meta.texts else None


class Writer:
    """Writes states in the order in which texts are read, from where a run before stopped.

    Args:
        folder: of these states; what a run before wrote there stays if it was of the same.
        meta: what they are of.
        places: which rows are of which text.

    Attributes:
        done: how many texts are whole, in the order in which they are read.

    Raises:
        SteeringError: where the folder cannot be written.
    """

    def __init__(self, folder: Path, meta: Meta, places: Places) -> None:
        self.folder, self.meta = folder, meta
        if _read_meta(folder) != meta or not places.same(Places.read(folder)):
            _begin(folder, meta, places)
        self.done, self._sums = _done(folder, meta)
        write_whole(folder / "done.txt", lambda path: path.write_text(self._line()))  # without half a line
        self._row = int([*np.sort(places.first), meta.rows][self.done])

    def add(self, texts: int, outputs: np.ndarray) -> None:
        """Keep what was read of the next texts.

        Args:
            texts: how many.
            outputs: float32 [rows, blocks, width], of all of them.

        Raises:
            SteeringError: for a disk without room.
        """
        states, scales = to_half(outputs)
        blocks, rows, _ = self.meta.shape
        sums = []
        try:
            for kind, (name, values) in enumerate((("states.f16", states), ("scales.f32", scales))):
                with open(self.folder / name, "r+b") as file:
                    each = values[0, 0].nbytes
                    for block in range(blocks):
                        raw = np.ascontiguousarray(values[:, block]).data
                        file.seek((block * rows + self._row) * each)
                        file.write(raw)
                        sums.append(zlib.crc32(raw, self._sums[block][kind]))
                    _to_disk(file)
            self.done += texts
            self._row += len(outputs)
            self._sums = list(zip(sums[:blocks], sums[blocks:], strict=True))
            with open(self.folder / "done.txt", "ab") as file:
                file.write(self._line().encode())
        except OSError as error:
            raise unwritable(self.folder, error) from None

    def _line(self) -> str:
        """What done.txt says now."""
        sums = (f"{one:08x}" for of_block in self._sums for one in of_block)
        return f"{' '.join([str(self.done), *sums])}\n"


def to_half(outputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows [..., width] as float16 rows and float32 scales [...]: exact for what a model gives in half precision."""
    largest = np.abs(outputs).max(axis=-1)
    scales = np.where(largest > 0, np.ldexp(np.float32(1), np.frexp(largest)[1] - _TOP), 1).astype(_SCALE)
    return (outputs / scales[..., None]).astype(_STATE), scales


def _begin(folder: Path, meta: Meta, places: Places) -> None:
    """Make the files of new states."""
    blocks, rows, width = meta.shape
    try:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        places.write(folder)
        for name, size in (("states.f16", width * _STATE.itemsize), ("scales.f32", _SCALE.itemsize)):
            with open(folder / name, "wb") as file:
                file.truncate(blocks * rows * size)
    except OSError as error:
        raise unwritable(folder, error) from None
    write_whole(folder / "meta.json", lambda path: path.write_text(json.dumps(asdict(meta)), encoding="utf-8"))


def _read_meta(folder: Path) -> Meta | None:
    """What a folder says of itself; None where it is none of ours, or one of another version."""
    path = folder / "meta.json"
    if not is_file(path):
        return None
    try:
        meta = Meta(**read_json(path, "states"))
        blocks, rows, width = meta.shape
        sizes = {"states.f16": blocks * rows * width * _STATE.itemsize, "scales.f32": blocks * rows * _SCALE.itemsize}
        whole = all((folder / name).stat().st_size == size for name, size in sizes.items())
        return meta if whole and meta.version == VERSION and len(Places.read(folder).ends) == rows else None
    except (SteeringError, OSError, TypeError, KeyError, ValueError, BadZipFile):
        return None


def _done(folder: Path, meta: Meta) -> tuple[int, list[tuple[int, int]]]:
    """How many texts are whole, and of each block the checksums of their states and scales.

    A line that was cut short does not count.
    """
    blocks = meta.shape[0]
    nothing = 0, [(0, 0)] * blocks
    path = folder / "done.txt"
    if not is_file(path):
        return nothing
    lines = path.read_bytes().split(b"\n")[:-1]
    count, *sums = lines[-1].split() if lines and lines[-1] else (b"",)
    try:
        done, read = int(count), [int(one, 16) for one in sums]
    except ValueError:
        return nothing
    if len(read) != 2 * blocks or not 0 <= done <= meta.texts:
        return nothing
    return done, list(zip(read[::2], read[1::2], strict=True))


def _to_disk(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
