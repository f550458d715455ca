"""Files of other tools, damaged by seed: reading one ends in a vector or in a sentence, whatever stands in it.

    python tests/mutations.py 10000 [FORMAT ...]    # of each format; the suite runs 300 of all

While a damaged file is read, a program that is started, a socket, code that is run, and a file that is
written or removed are faults, as are 20 seconds of computing and memory beyond 1 GiB more than the program has already.
"""

from __future__ import annotations

import functools
import io
import os
import resource
import signal
import sys
import tempfile
import time
import types
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

import foreign
from foreign import ANSWERS, BLOCKS, Make
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.vectors.foreign import Answers, import_vector

PARENT = {"name": "m", "num_blocks": BLOCKS}
SLOW = 20.0
"""Seconds of computing that no file of some kilobytes may take."""
MEMORY = 2**30
"""Bytes of addresses that reading one may take."""

_NUMBERS = [b"\xff" * 8, b"\x00" * 8, b"\xff\xff\xff\x7f", b"\xff" * 7 + b"\x7f", b"\x00\x00\x00\x80", b"\x01"]
_WORDS = [
    *(b"1e999", b"NaN", b"-1", b"[]", b"{}", b"null", b'"x"', b"[" * 300, b"9" * 400, b'"\\ud800"', b"true"),
    *(b"cos\nsystem\n", b"\x85R", b"(", b".", b"0", b"2", b"}", b"]", b"h\x00", b"j\xff\xff\xff\x7f", b"\x94", b"b"),
]
_CODE = ("os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen", "socket.connect")
_CHANGES = ("os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.chmod", "os.symlink", "shutil.rmtree")


class BreachError(BaseException):
    """Reading a file did what no file may make a program do; no `except Exception` hides it."""


def _steering_vectors(folder: Path) -> Path:
    """A pickled object of the library's class, of which nothing is installed here."""
    module = types.ModuleType("steering_vectors.steering_vector")
    made: Any = type("SteeringVector", (), {"__module__": module.__name__})
    module.SteeringVector = made  # type: ignore[attr-defined]
    sys.modules |= {"steering_vectors": types.ModuleType("steering_vectors"), module.__name__: module}
    vector = made()
    activations = {block: torch.from_numpy(row) for block, row in enumerate(foreign.rows())}
    vector.__dict__ |= {"layer_activations": activations, "layer_type": "decoder_block"}
    try:
        return foreign.torch_save(folder / "v.pt", vector)
    finally:
        del sys.modules["steering_vectors"], sys.modules[module.__name__]


def _low_rank(folder: Path) -> Path:
    """A map of two blocks, as a table of tables."""
    parts = {"A": (foreign.WIDTH, 2), "b": (2,), "C": (foreign.WIDTH, 2)}
    rng = torch.Generator().manual_seed(0)
    maps = {block: {name: torch.randn(shape, generator=rng) for name, shape in parts.items()} for block in ("1", "3")}
    return foreign.torch_save(folder / "v.pt", maps)


def _lm_steer(folder: Path) -> Path:
    """A map, of two steers."""
    rng = torch.Generator().manual_seed(0)
    matrices = {f"projector{n}": torch.randn(2, foreign.WIDTH, 2, generator=rng) for n in (1, 2)}
    return foreign.lm_steer(folder / "v.pt", **matrices)


FILES: dict[str, Make] = foreign.FILES | {
    "lm-steer": _lm_steer,
    "low-rank": _low_rank,
    "steering-vectors": _steering_vectors,
    "unlock": lambda at: foreign.torch_save(at / "v.pth", torch.from_numpy(foreign.rows())),
}
"""Format -> how a file of it is made; all that are read."""

_ANSWERS: dict[str, dict[str, Any]] = ANSWERS | {"unlock": {"method": "mean"}}


@functools.cache
def whole(name: str) -> tuple[Path, dict[Path, bytes]]:
    """A file or folder of a format before anything is damaged: what is read, and all files, from one folder."""
    with tempfile.TemporaryDirectory() as folder:
        path = FILES[name](Path(folder))
        files = {
            file.relative_to(folder): file.read_bytes() for file in sorted(Path(folder).rglob("*.*")) if file.is_file()
        }
        return path.relative_to(folder), files


def mutate(raw: bytes, rng: np.random.Generator) -> bytes:
    """Bytes with one to four places cut out, repeated, flipped or written over."""
    for _ in range(rng.integers(1, 5)):
        place = int(rng.integers(0, len(raw) + 1))
        end = min(len(raw), place + int(rng.integers(1, 24)))
        kind = int(rng.integers(0, 6))
        if kind == 0:
            raw = raw[:place] + raw[end:]
        elif kind == 1:
            raw = raw[:end] + raw[place:end] * int(rng.integers(1, 4)) + raw[end:]
        elif kind == 2:
            raw = raw[:place] + rng.bytes(end - place) + raw[end:]
        elif kind == 3:
            inserted = _NUMBERS[rng.integers(0, len(_NUMBERS))]
            raw = raw[:place] + inserted + raw[place + len(inserted) :]
        elif kind == 4:
            raw = raw[:place] + _WORDS[rng.integers(0, len(_WORDS))] + raw[place:]
        elif rng.random() < 0.2:
            raw = raw[:place]
    return raw


def mutate_inside(raw: bytes, rng: np.random.Generator) -> bytes:
    """A file of torch.save whose pickle is damaged, in a whole zip file with whole checksums."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(raw)) as archive, zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as written:
        for entry in archive.infolist():
            content = archive.read(entry)
            written.writestr(entry.filename, mutate(content, rng) if entry.filename.endswith(".pkl") else content)
    return out.getvalue()


def attempt(seed: int, folder: Path, name: str | None = None) -> str:
    """Damage a file of a format and read it.

    Args:
        seed: draws what is damaged, and how.
        folder: an empty one.
        name: of the format; without, the seed chooses it.

    Returns:
        what came of it: `vector`, or the sentence.
    """
    rng = np.random.default_rng(seed)
    name = name or list(FILES)[seed % len(FILES)]
    path, files = whole(name)
    damaged = list(files)[rng.integers(0, len(files))]
    for file, raw in files.items():
        if file == damaged:
            is_zip = raw.startswith(b"PK") and rng.random() < 0.7
            raw = mutate_inside(raw, rng) if is_zip else mutate(raw, rng)
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(raw)
    chosen = name if name == "unlock" or rng.random() < 0.5 else "auto"
    began = time.process_time()
    with _WATCH.watched():
        try:
            import_vector(folder / path, Answers(_ANSWERS.get(name, {}), PARENT), chosen)
            found = "vector"
        except SteeringError as error:
            found = str(error)
    assert "\n" not in found, seed
    assert time.process_time() - began < SLOW, seed
    return found


class _Watch:
    """What looks on while a file is read: an audit hook, which stays for good and is heard only then."""

    def __init__(self) -> None:
        self._hears = self._is_there = False

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Raise BreachError where code, a program, the network or a change of a file is asked for inside."""
        if not self._is_there:
            sys.addaudithook(self._hear)
            self._is_there = True
        self._hears = True
        try:
            yield
        finally:
            self._hears = False

    def _hear(self, event: str, args: tuple[Any, ...]) -> None:
        if not self._hears:
            return
        writes = event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        runs = (
            event == "exec" and not Path(args[0].co_filename).is_file()
        )  # a module of the library is imported from one
        if writes or runs or event in _CODE or event in _CHANGES:
            self._hears = False
            raise BreachError(f"{event} {args!r:.200}")


_WATCH = _Watch()


def _address_space() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def try_format(name: str, count: int) -> None:
    """Damage and read so many files of a format, and say what came of them."""
    with tempfile.TemporaryDirectory() as folder:  # what a reader imports when it is first used is no code of a file
        path, files = whole(name)
        for file, raw in files.items():
            (Path(folder) / file).parent.mkdir(parents=True, exist_ok=True)
            (Path(folder) / file).write_bytes(raw)
        import_vector(Path(folder) / path, Answers(_ANSWERS.get(name, {}), PARENT), name)
    resource.setrlimit(resource.RLIMIT_AS, (_address_space() + MEMORY, resource.RLIM_INFINITY))
    vectors, slowest, sentences = 0, 0.0, set()
    for seed in range(count):
        signal.setitimer(signal.ITIMER_PROF, SLOW)
        began = time.process_time()
        with tempfile.TemporaryDirectory() as folder:
            try:
                found = attempt(seed, Path(folder), name)
            except BaseException:
                print(f"{name}: seed {seed}", file=sys.stderr)
                raise
        slowest = max(slowest, time.process_time() - began)
        vectors += found == "vector"
        sentences.add(found)
    signal.setitimer(signal.ITIMER_PROF, 0)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    print(
        f"| `{name}` | {count:,} | {vectors:,} | {count - vectors:,} | {slowest:.2f} s | {most:.0f} MiB |", flush=True
    )


def main(count: int, *names: str) -> None:
    """Try formats, each in a process of its own, so that its memory is its own."""
    print(
        "| format | files | vectors | sentences | slowest | memory of the process |\n|---|---|---|---|---|---|",
        flush=True,
    )
    faults = 0
    for name in names or FILES:
        child = os.fork()
        if not child:
            try:
                try_format(name, count)
                os._exit(0)
            finally:
                import traceback

                traceback.print_exc()
                os._exit(1)
        _, status = os.waitpid(child, 0)
        faults += status != 0
    sys.exit(f"{faults} formats with a fault" if faults else None)


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
