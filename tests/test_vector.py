"""SteeringVector files: round trips, golden bytes, and a sentence for every broken or hostile file."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import re
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_torch_file

from conftest import ROOT, make_vector
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.vectors.catalog import find_vector
from lm_eval_steer.vectors.formats import FORMATS, Format
from lm_eval_steer.vectors.vector import SteeringVector

GOLDEN = ROOT / "tests" / "golden_vectors"
SUFFIXES = [".safetensors", ".pt"]
WIDTH = 8
UNIT = np.eye(WIDTH, dtype=np.float32)[0]
PARENT: dict[str, Any] = {"name": "parent", "hidden_size": WIDTH, "num_blocks": 4}


def header(passport: Any = None, **changes: Any) -> str:
    content = {
        "format": "lm_eval_steer.vector",
        "format_version": 1,
        "passport": passport or {"parent": PARENT},
    }
    return json.dumps(content | changes)


def write_safetensors(path: Path, text: str | None, tensors: dict[str, Any]) -> None:
    save_file(tensors, path, metadata=None if text is None else {"lm_eval_steer": text})


def write_pt(path: Path, text: str | None, tensors: dict[str, Any]) -> None:
    entries = {} if text is None else {"lm_eval_steer": text}
    converted = {name: torch.from_numpy(t) if isinstance(t, np.ndarray) else t for name, t in tensors.items()}
    torch.save(entries | converted, path)


WRITERS: dict[str, Callable[[Path, str | None, dict[str, Any]], None]] = {
    ".safetensors": write_safetensors,
    ".pt": write_pt,
}


def refusal(path: Path) -> str:
    """The sentence with which a file is refused, without its name."""
    with pytest.raises(SteeringError) as caught:
        SteeringVector.load(path)
    sentence = str(caught.value)
    assert sentence.startswith(f"{path}: ")
    assert "\n" not in sentence
    assert len(sentence) < len(str(path)) + 250
    return sentence.removeprefix(f"{path}: ")


def golden_content() -> tuple[dict[str, list[float]], dict[str, Any]]:
    """What the golden files hold, from the script that wrote them."""
    names: dict[str, Any] = {}
    exec((GOLDEN / "make.py").read_text(encoding="utf-8"), names)
    return names["DIRECTIONS"], names["PASSPORT"]


# Files that are fine


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_round_trip(suffix: str, tmp_path: Path) -> None:
    vector = make_vector(blocks=11, width=6, seed=3)
    vector.passport["data"] = {"rows": ["é", "‖h‖"], "n_pairs": 3, "share": 0.1, "nothing": None}
    path = vector.save(tmp_path / "new" / f"vector{suffix}")
    loaded = SteeringVector.load(path)
    assert loaded.directions.dtype == np.float32
    assert np.array_equal(loaded.directions, vector.directions)
    assert loaded.layers == tuple(range(11))  # direction.10 sorts behind direction.9
    assert loaded.passport == vector.passport
    assert loaded.fingerprint == vector.fingerprint
    assert make_vector(blocks=11, width=6, seed=4).fingerprint != vector.fingerprint
    again = loaded.save(tmp_path / f"another name{suffix}")
    assert again.read_bytes() == path.read_bytes()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_golden_file_is_read_to_the_last_bit(suffix: str) -> None:
    directions, passport = golden_content()
    vector = SteeringVector.load(GOLDEN / f"v1{suffix}")
    assert vector.layers == (0, 2, 10)
    assert vector.directions.tobytes() == np.array(list(directions.values()), dtype="<f4").tobytes()
    assert vector.passport == passport
    assert vector.fingerprint == "ecc8c255e17e9c1e233a405e063266ce0ba3c8100e76af5ac4159b241ce48136"


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_golden_file_is_written_to_the_last_byte(suffix: str, tmp_path: Path) -> None:
    directions, passport = golden_content()
    vector = SteeringVector(np.array(list(directions.values()), dtype=np.float32), (0, 2, 10), passport)
    path = vector.save(tmp_path / f"v1{suffix}")
    if suffix == ".safetensors":
        assert path.read_bytes() == (GOLDEN / "v1.safetensors").read_bytes()
    else:  # the zip file of another torch may differ, its content may not
        ours, golden = (torch.load(p, weights_only=True) for p in (path, GOLDEN / "v1.pt"))
        assert ours.pop("lm_eval_steer") == golden.pop("lm_eval_steer")
        assert list(ours) == list(golden)
        assert all(torch.equal(ours[name], golden[name]) for name in golden)


def test_the_examples_of_the_specification_run(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "FORMAT.md").read_text(encoding="utf-8")
    write, read = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    done = subprocess.run([sys.executable, "-c", write + read], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout == "4 directions of my/parent, which has 4 blocks\n", done.stderr
    vector = SteeringVector.load(tmp_path / "my_vector.safetensors")
    assert (vector.layers, vector.directions.shape) == ((0, 1, 2, 3), (4, 16))
    (example,) = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    parent = json.loads(example)["passport"]["parent"]
    direction = np.eye(parent["hidden_size"], dtype=np.float32)[:1]
    SteeringVector(direction, (parent["num_blocks"] - 1,), {"parent": parent})


def test_metadata_keys_of_other_writers_are_ignored(tmp_path: Path) -> None:
    path = tmp_path / "v.safetensors"
    save_file({"direction.3": UNIT}, path, metadata={"format": "pt", "lm_eval_steer": header(future_key=1)})
    assert SteeringVector.load(path).layers == (3,)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("length", [1 - 0.9e-3, 1 + 0.9e-3])
def test_length_is_checked_with_tolerance(suffix: str, length: float, tmp_path: Path) -> None:
    path = tmp_path / f"v{suffix}"
    WRITERS[suffix](path, header(), {"direction.0": (UNIT * length).astype(np.float32)})
    assert SteeringVector.load(path).directions[0, 0] == np.float32(length)


# Writing


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_write_that_fails_leaves_the_old_file(suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_vector(seed=1).save(tmp_path / f"v{suffix}")
    old = path.read_bytes()

    def half(*args: Any, **kwargs: Any) -> None:
        next(tmp_path.glob(".*.part")).write_bytes(old[: len(old) // 2])
        raise KeyboardInterrupt

    monkeypatch.setattr("safetensors.numpy.save_file", half)
    monkeypatch.setattr("torch.save", half)
    with pytest.raises(KeyboardInterrupt):
        make_vector(seed=2).save(path)
    assert path.read_bytes() == old
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_another_suffix_is_refused_both_ways(tmp_path: Path) -> None:
    for act in (make_vector().save, SteeringVector.load):
        with pytest.raises(SteeringError, match=r"v\.gguf: a steering vector is .* \.pt.*, not '\.gguf'"):
            act(tmp_path / "v.gguf")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("passport", "words"),
    [
        ({"parent": PARENT, "x": float("nan")}, "not plain JSON"),
        ({"parent": PARENT, "x": Path("x")}, "not plain JSON"),
        ({"parent": PARENT, "x": "\ud800"}, "not plain JSON"),
    ],
)
def test_a_passport_that_no_file_can_hold_is_refused_at_construction(passport: dict, words: str) -> None:
    with pytest.raises(SteeringError, match=words):
        SteeringVector(UNIT[None], (0,), passport)


@pytest.mark.parametrize(
    ("directions", "layers", "words"),
    [
        (np.stack([UNIT, UNIT]), (0,), "2 directions need as many layers"),
        (np.stack([UNIT, UNIT]), (1, 1), r"distinct, ascending and not negative, got \[1, 1\]"),
        (np.stack([UNIT, UNIT]), (1, 0), r"distinct, ascending and not negative, got \[1, 0\]"),
        (UNIT[None], (-1,), r"distinct, ascending and not negative, got \[-1\]"),
        (UNIT[None].astype(np.float64), (0,), r"must be float32 of shape \[blocks, hidden\], got float64 \[1, 8\]"),
        (UNIT, (0,), r"must be float32 of shape \[blocks, hidden\], got float32 \[8\]"),
    ],
)
def test_fields_that_contradict_each_other(directions: np.ndarray, layers: tuple, words: str) -> None:
    with pytest.raises(SteeringError, match=words):
        SteeringVector(directions, layers, {"parent": PARENT})


# Formats of others


def test_a_format_of_others_is_chosen_by_suffix_and_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two formats may share a suffix; one that is read only is saved by none."""

    def read(path: Path) -> tuple[Any, dict[int, np.ndarray]]:
        return {"parent": PARENT}, {1: np.array(json.loads(path.read_text()), dtype=np.float32)}

    FORMATS.add("list", Format(".json", read))
    FORMATS.add("list in a .pt", Format(".pt", read, recognises=lambda path: path.read_bytes()[:1] == b"["))
    monkeypatch.chdir(tmp_path)
    try:
        for name in ("v.json", "v.pt"):
            (tmp_path / name).write_text(json.dumps(UNIT.tolist()))
            vector = SteeringVector.load(name)
            assert (vector.layers, vector.directions.tolist()) == ((1,), UNIT[None].tolist())
        assert find_vector("v").name == "v.pt"
        make_vector(width=WIDTH).save("own.pt")
        assert SteeringVector.load("own.pt").fingerprint == make_vector(width=WIDTH).fingerprint
        (tmp_path / "half.pt").write_text("[1, ")
        assert refusal(Path("half.pt")).startswith("not a readable .pt file (")
        with pytest.raises(SteeringError, match=r"is saved as \.safetensors or \.pt, not '\.json'"):
            make_vector().save("v.json")
        with pytest.raises(SteeringError, match=r"is a \.safetensors or \.pt or \.json file, not '\.gguf'"):
            SteeringVector.load("v.gguf")
    finally:
        FORMATS.remove("list")
        FORMATS.remove("list in a .pt")


# Headers and tensors that are wrong in either container


def deep(levels: int) -> str:
    return header().replace('"parent":', '"deep":' + "[" * levels + "]" * levels + ',"parent":', 1)


NO_ENTRY = "not a steering vector of this project: there is no 'lm_eval_steer' entry in its header"
NOT_JSON = "the 'lm_eval_steer' entry of its header is not JSON of at most 32 levels"
NOT_PLAIN = "the passport is not plain JSON of at most 32 levels without NaN"
NO_FORMAT = "its header does not say format 'lm_eval_steer.vector'"
NO_PARENT = "the passport must hold `parent` with `name`, `hidden_size` and `num_blocks`"
UPDATE = "this version reads 1 and 2: update lm_eval_steer or extract the vector again"
NAMES = "expected direction.N with N = 0, 1, 2, ..."

BAD_HEADERS: dict[str, tuple[str | None, str]] = {
    "none": (None, NO_ENTRY),
    "empty": ("", NOT_JSON),
    "not JSON": ("{format: vector", NOT_JSON),
    "nested without end": ("[" * 100_000, NOT_JSON),
    "nested 5000 levels": (deep(5000), "JSON of at most 32 levels"),
    "nested 100 levels": (deep(100), NOT_PLAIN),
    "NaN": (header({"parent": PARENT, "x": float("nan")}), NOT_PLAIN),
    "infinite number": (header().replace('"passport": {', '"passport": {"x": 1e999, '), NOT_PLAIN),
    "lone surrogate": (header({"parent": PARENT, "x": "\ud800"}), NOT_PLAIN),
    "a list": ("[1, 2]", NO_FORMAT),
    "other format": (header(format="control_vector"), NO_FORMAT),
    "version 3": (header(format_version=3), f"format_version 3, {UPDATE}"),
    "version text": (header(format_version="1"), f"format_version '1', {UPDATE}"),
    "version true": (header(format_version=True), f"format_version True, {UPDATE}"),
    "version missing": (header(format_version=None), f"format_version None, {UPDATE}"),
    "no passport": (json.dumps({"format": "lm_eval_steer.vector", "format_version": 1}), NO_PARENT),
    "passport a text": (header("parent"), NO_PARENT),
    "no parent": (header({"site": "block_output"}), NO_PARENT),
    "parent a text": (header({"parent": "phi-4"}), NO_PARENT),
    "no num_blocks": (header({"parent": {"name": "p", "hidden_size": WIDTH}}), NO_PARENT),
    "num_blocks a text": (header({"parent": PARENT | {"num_blocks": "4"}}), "says num_blocks '4', expected int"),
    "num_blocks true": (header({"parent": PARENT | {"num_blocks": True}}), "says num_blocks True, expected int"),
    "num_blocks 4.0": (header({"parent": PARENT | {"num_blocks": 4.0}}), "says num_blocks 4.0, expected int"),
    "num_blocks long": (header({"parent": PARENT | {"num_blocks": ["\n" * 999]}}), "says num_blocks ['\\n\\n"),
    "hidden_size 8.0": (header({"parent": PARENT | {"hidden_size": 8.0}}), "says hidden_size 8.0, expected int"),
    "name a list": (header({"parent": PARENT | {"name": []}}), "says name [], expected str"),
    "another width": (
        header({"parent": PARENT | {"hidden_size": 9}}),
        "the directions are 8 wide, the passport says hidden_size 9",
    ),
    "too few blocks": (
        header({"parent": PARENT | {"num_blocks": 1}}),
        "there is a direction for block 1, but the passport says num_blocks 1 and blocks count from 0",
    ),
    "another site": (
        header({"parent": PARENT, "site": "attention"}),
        "its passport says site 'attention', which format_version 1 has not: it is of version 2",
    ),
    "a site of its own": (
        header({"parent": PARENT, "site": "stream"}),
        "the passport says site 'stream', this version takes one of block_output, block_input, attention, mlp, heads",
    ),
    "another base": (
        header({"parent": PARENT, "layer_base": 1}),
        "the passport says layer_base 1, this version takes 0 only",
    ),
}


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(("text", "words"), BAD_HEADERS.values(), ids=BAD_HEADERS)
def test_bad_header(suffix: str, text: str | None, words: str, tmp_path: Path) -> None:
    path = tmp_path / f"v{suffix}"
    WRITERS[suffix](path, text, {"direction.0": UNIT, "direction.1": UNIT})
    assert words in refusal(path)


BAD_TENSORS: dict[str, tuple[dict[str, np.ndarray], str]] = {
    "none": ({}, "it holds no direction.N tensor"),
    "NaN": ({"direction.2": np.full(WIDTH, np.nan, np.float32)}, "direction.2 holds NaN or infinite numbers"),
    "infinite": ({"direction.2": np.full(WIDTH, np.inf, np.float32)}, "direction.2 holds NaN or infinite numbers"),
    "long": ({"direction.2": UNIT * 2}, "direction.2 has length 2, expected 1"),
    "longer than float32": ({"direction.2": np.full(WIDTH, 3e38, np.float32)}, "has length 8.485e+38, expected 1"),
    "nearly 1": ({"direction.2": UNIT * np.float32(1.0011)}, "direction.2 has length 1.001, expected 1"),
    "zero": ({"direction.2": UNIT * 0}, "direction.2 has length 0, expected 1"),
    "float16": ({"direction.2": UNIT.astype(np.float16)}, "16, expected float32"),
    "float64": ({"direction.2": UNIT.astype(np.float64)}, "64, expected float32"),
    "int": ({"direction.2": UNIT.astype(np.int64)}, "64, expected float32"),
    "a row": ({"direction.2": UNIT[None]}, "direction.2 has shape [1, 8], expected [hidden]"),
    "a number": ({"direction.2": np.array(1, np.float32)}, "direction.2 has shape [], expected [hidden]"),
    "nothing in it": ({"direction.2": UNIT[:0]}, "direction.2 has shape [0], expected [hidden]"),
    "mixed widths": (
        {"direction.2": UNIT, "direction.3": np.eye(9, dtype=np.float32)[0]},
        "all directions must have the same width, got 8 and 9",
    ),
    "layer 4 of 4": ({"direction.4": UNIT}, "there is a direction for block 4, but the passport says num_blocks 4"),
    "leading zero": ({"direction.01": UNIT}, f"unexpected tensor 'direction.01', {NAMES}"),
    "negative": ({"direction.-1": UNIT}, f"unexpected tensor 'direction.-1', {NAMES}"),
    "endless number": ({"direction." + "9" * 500: UNIT}, "unexpected tensor 'direction.999999"),
    "other digits": ({"direction.\u0663": UNIT}, f"unexpected tensor 'direction.\u0663', {NAMES}"),
    "a newline": ({"direction.1\n": UNIT}, f"unexpected tensor 'direction.1\\n', {NAMES}"),
    "stranger": ({"direction.0": UNIT, "bias": UNIT}, f"unexpected tensor 'bias', {NAMES}"),
}


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(("tensors", "words"), BAD_TENSORS.values(), ids=BAD_TENSORS)
def test_bad_tensors(suffix: str, tensors: dict[str, np.ndarray], words: str, tmp_path: Path) -> None:
    path = tmp_path / f"v{suffix}"
    WRITERS[suffix](path, header(), tensors)
    assert words in refusal(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_types_that_numpy_lacks(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"v{suffix}"
    for dtype, word in [(torch.bfloat16, "(BF16|bfloat16)"), (torch.float8_e4m3fn, "(F8_E4M3|float8_e4m3fn)")]:
        tensor = torch.eye(WIDTH)[0].to(dtype)
        if suffix == ".pt":
            write_pt(path, header(), {"direction.0": tensor})
        else:
            save_torch_file({"direction.0": tensor}, path, metadata={"lm_eval_steer": header()})
        assert re.fullmatch(f"direction.0 is {word}, expected float32", refusal(path))


# Files that are damaged


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("share", [0.001, 0.02, 0.3, 0.5, 0.9, 0.999])
def test_truncated(suffix: str, share: float, tmp_path: Path) -> None:
    path = make_vector(blocks=3, width=WIDTH).save(tmp_path / f"v{suffix}")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    assert re.match(rf"not a readable \{suffix} file \(.+\)$", refusal(path))


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 100,
        np.random.default_rng(0).bytes(4096),
        b"PK\x03\x04" + np.random.default_rng(1).bytes(4096),
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", 10**9) + b"{}",
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 8) + b"\xff" * 8,
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n",
    ],
    ids=["empty", "zeros", "random", "PK", "header 2^63", "header 10^9", "header list", "no UTF-8", "git-lfs"],
)
def test_not_a_container(suffix: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / f"v{suffix}"
    path.write_bytes(content)
    assert re.match(rf"not a readable \{suffix} file \(.+\)$", refusal(path))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_any_flipped_byte_is_read_or_refused(suffix: str, tmp_path: Path) -> None:
    """Never another exception; what still loads is a vector that keeps all promises, since loading constructs it."""
    path = make_vector(blocks=2, width=WIDTH).save(tmp_path / f"v{suffix}")
    whole = path.read_bytes()
    rng = np.random.default_rng(5)
    for position in rng.choice(len(whole), 150, replace=False):
        path.write_bytes(whole[:position] + rng.bytes(1) + whole[position + 1 :])
        with contextlib.suppress(SteeringError):
            SteeringVector.load(path)


def test_claimed_tensors_beyond_the_end_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "v.safetensors"
    entry = {"dtype": "F32", "shape": [10**12], "data_offsets": [0, 4 * 10**12]}
    content = json.dumps({"__metadata__": {"lm_eval_steer": header()}, "direction.0": entry}).encode()
    path.write_bytes(struct.pack("<Q", len(content)) + content + b"\0" * 32)
    assert refusal(path).startswith("not a readable .safetensors file (")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_only_a_regular_file_that_memory_holds_is_opened(suffix: str, tmp_path: Path) -> None:
    pipe, endless, huge = (tmp_path / f"{name}{suffix}" for name in ("pipe", "endless", "huge"))
    os.mkfifo(pipe)
    endless.symlink_to("/dev/zero")
    with huge.open("wb") as file:
        file.truncate(2**43)  # a hole that takes no room
    for path in (pipe, endless):
        assert "this is a device, a pipe or a socket, expected a file of directions" in refusal(path)
    assert "8192.0 GiB of directions do not fit into the free memory" in refusal(huge)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_missing_file_and_folder(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"v{suffix}"
    assert refusal(path) == "no such file"
    path.mkdir()
    assert refusal(path) == "this is a folder"


# Files that attack


class Attack:
    """Pickled, this is a command that creates a file."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple:
        return os.system, (f"touch '{self.trace}'",)


OBJECTS = "it is damaged or holds other Python objects than tensors and text, which are never loaded"


def test_a_pickle_is_never_run(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    whole, member = tmp_path / "whole.pt", tmp_path / "member.pt"
    torch.save(Attack(trace), whole)
    write_pt(member, header(), {"direction.0": UNIT, "direction.1": Attack(trace)})
    assert refusal(whole) == refusal(member) == OBJECTS
    bare = pickle.dumps({"lm_eval_steer": header(), "direction.0": Attack(trace)})
    for path in (tmp_path / "bare.pt", tmp_path / "renamed.safetensors"):
        path.write_bytes(bare)
        assert refusal(path).startswith(f"not a readable {path.suffix} file (")
    behind = tmp_path / "behind.pt"  # a zip file to zipfile, which looks at the end, and a pickle to others
    behind.write_bytes(bare + member.read_bytes())
    assert refusal(behind) == "it begins with something else than the zip file of torch.save"
    assert not trace.exists()
    torch.load(whole, weights_only=False)
    assert trace.exists()  # the attack works on a reader that lets it


def test_a_zip_renamed_to_safetensors_and_back(tmp_path: Path) -> None:
    vector = make_vector()
    as_pt = vector.save(tmp_path / "a.safetensors").rename(tmp_path / "a.pt")
    as_safetensors = vector.save(tmp_path / "b.pt").rename(tmp_path / "b.safetensors")
    assert refusal(as_pt).startswith("not a readable .pt file (")
    assert refusal(as_safetensors).startswith("not a readable .safetensors file (")


def test_the_format_of_torch_before_zip_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "v.pt"
    content = {"lm_eval_steer": header(), "direction.0": torch.from_numpy(UNIT)}
    torch.save(content, path, _use_new_zipfile_serialization=False)
    assert refusal(path) == "not a readable .pt file (File is not a zip file)"


def repack(source: Path, target: Path, compression: int) -> None:
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", compression) as new:
        for entry in old.infolist():
            new.writestr(entry.filename, old.read(entry))


def test_compressed_entries_are_refused_before_they_grow(tmp_path: Path) -> None:
    source = make_vector(width=WIDTH).save(tmp_path / "v.pt")
    for compression in (zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        repack(source, tmp_path / "packed.pt", compression)
        assert refusal(tmp_path / "packed.pt") == "it holds compressed entries, which torch.save never writes"
    repack(source, tmp_path / "stored.pt", zipfile.ZIP_STORED)
    assert SteeringVector.load(tmp_path / "stored.pt").fingerprint == make_vector(width=WIDTH).fingerprint


def test_overlapping_entries_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "v.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data/0", b"\0" * 10_000)
        for i in range(1, 50):
            again = zipfile.ZipInfo(f"archive/data/{i}")
            first = archive.infolist()[0]
            again.file_size = again.compress_size = first.file_size
            again.header_offset, again.CRC = first.header_offset, first.CRC
            archive.filelist.append(again)
    assert path.stat().st_size < 20_000
    assert refusal(path) == "its entries overlap, which torch.save never writes"


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (torch.ones(1).expand(10**12), "direction.0 is not contiguous"),
        (torch.arange(16.0)[::2], "direction.0 is not contiguous"),
        (
            torch.sparse_coo_tensor(torch.tensor([[0]]), torch.ones(1), (10**12,), check_invariants=False),
            "'direction.0' is not a plain tensor",
        ),
        (torch.empty(10**12, device="meta"), "'direction.0' is not a plain tensor"),
        (torch.nn.Parameter(torch.eye(WIDTH)[0]), "'direction.0' is not a plain tensor"),
        (torch.eye(WIDTH, dtype=torch.complex64)[0], "direction.0 is complex64, expected float32"),
        ("text", "'direction.0' is not a plain tensor"),
        ([1.0], "'direction.0' is not a plain tensor"),
        (np.array([1.0]), OBJECTS),
    ],
    ids=["expanded", "strided", "sparse", "meta", "parameter", "complex", "text", "list", "numpy"],
)
def test_pt_entries_that_are_no_plain_tensors(entry: Any, words: str, tmp_path: Path) -> None:
    path = tmp_path / "v.pt"
    torch.save({"lm_eval_steer": header(), "direction.0": entry}, path)
    assert refusal(path) == words


def test_pt_tensors_that_only_look_odd_are_read(tmp_path: Path) -> None:
    path = tmp_path / "v.pt"
    entries = {
        "direction.0": torch.eye(WIDTH)[0].requires_grad_(),
        "direction.1": torch._neg_view(-torch.eye(WIDTH)[1]),
    }
    torch.save({"lm_eval_steer": header()} | entries, path)
    assert np.array_equal(SteeringVector.load(path).directions, np.eye(WIDTH, dtype=np.float32)[:2])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (torch.eye(3), "it holds a Tensor, expected a dict with a 'lm_eval_steer' entry"),
        ([1, 2], "it holds a list, expected a dict with a 'lm_eval_steer' entry"),
        ({"direction.0": torch.eye(3)[0]}, NO_ENTRY),
        ({"lm_eval_steer": 7}, NO_ENTRY),
        ({"lm_eval_steer": header(), 5: torch.eye(WIDTH)[0]}, f"unexpected tensor 5, {NAMES}"),
    ],
    ids=["tensor", "list", "no header", "header a number", "key a number"],
)
def test_pt_of_another_kind(content: Any, words: str, tmp_path: Path) -> None:
    path = tmp_path / "v.pt"
    torch.save(content, path)
    assert refusal(path) == words
