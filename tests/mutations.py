"""Files of other tools, damaged by seed: reading one ends in a vector or in a sentence, whatever stands in it.

python tests/mutations.py 10000 [FIRST_SEED]    # more than the suite runs, on every format
"""

from __future__ import annotations

import io
import resource
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import numpy as np

from foreign import ANSWERS, BLOCKS, FILES
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.vectors.foreign import Answers, import_vector

PARENT = {"name": "m", "num_blocks": BLOCKS}
SLOW = 20.0
"""Seconds that no file of some kilobytes may take."""
_NUMBERS = [b"\xff" * 8, b"\x00" * 8, b"\xff\xff\xff\x7f", b"\xff" * 7 + b"\x7f", b"\x00\x00\x00\x80", b"\x01"]
_WORDS = [
    *(b"1e999", b"NaN", b"-1", b"[]", b"{}", b"null", b'"x"', b"[" * 300, b"9" * 400, b'"\\ud800"', b"true"),
    *(b"cos\nsystem\n", b"\x85R", b"(", b".", b"0", b"2", b"}", b"]", b"h\x00", b"j\xff\xff\xff\x7f", b"\x94", b"b"),
]


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


def attempt(seed: int, folder: Path) -> str:
    """Damage a file of a format and read it.

    Returns:
        what came of it: `vector`, or the sentence.
    """
    rng = np.random.default_rng(seed)
    name = list(FILES)[seed % len(FILES)]
    path = FILES[name](folder)
    files = [path] if path.is_file() else sorted(path.iterdir())
    damaged = files[rng.integers(0, len(files))]
    raw = damaged.read_bytes()
    is_zip = raw.startswith(b"PK") and rng.random() < 0.7
    damaged.write_bytes(mutate_inside(raw, rng) if is_zip else mutate(raw, rng))
    chosen = name if rng.random() < 0.5 else "auto"
    began = time.monotonic()
    try:
        import_vector(path, Answers(ANSWERS.get(name, {}), PARENT), chosen)
        found = "vector"
    except SteeringError as error:
        found = str(error)
        assert "\n" not in found, seed
    assert time.monotonic() - began < SLOW, seed
    return found


def main(count: int, first: int = 0) -> None:
    """Damage so many files, and say what came of them."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    vectors = 0
    for seed in range(first, first + count):
        with tempfile.TemporaryDirectory() as folder:
            try:
                vectors += attempt(seed, Path(folder)) == "vector"
            except BaseException:
                print(f"seed {seed}", file=sys.stderr)
                raise
        if seed % 500 == 499:
            print(f"seeds up to {seed} tried", flush=True)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**10
    print(f"{count} files: {vectors} vectors, {count - vectors} sentences, {grown:.0f} MiB more memory at most")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
