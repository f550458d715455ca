"""Vectors as files of other tools: every number at its place, read back without this package's readers."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gguf import GGUFReader
from safetensors import safe_open
from safetensors.numpy import load

from conftest import make_transferred, make_vector
from lm_eval_steer.cli.main import main
from lm_eval_steer.engines.reference import Reference
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.intervention import Edit, intervene
from lm_eval_steer.vectors.exports import EXPORTS, Export, write_export
from lm_eval_steer.vectors.load import load_vector
from lm_eval_steer.vectors.vector import SteeringVector
from models import DEPTH, WIDTH, make_model, save_model

Rows = dict[int, np.ndarray]
ALPHA = 2.5


def gguf(path: Path) -> Rows:
    return {int(one.name.removeprefix("direction.")): np.array(one.data) for one in GGUFReader(path).tensors}


def loaded(path: Path) -> Any:
    return torch.load(path, weights_only=True)


def by_row(table: torch.Tensor, before: int = 0) -> Rows:
    """Rows of a table that are not zero, by block."""
    assert table.dtype == torch.float32
    assert not table[:before].any()
    return {block: row.numpy() for block, row in enumerate(table[before:]) if row.any()}


def lm_eval_steered(path: Path) -> Rows:
    entries = loaded(path)
    assert all(one["action"] == "add" and one["bias"] is None and one["head_index"] is None for one in entries.values())
    return {
        int(name.removeprefix("layers.")): (one["steering_vector"] * one["steering_coefficient"]).numpy()
        for name, one in entries.items()
    }


def vllm_lens(path: Path) -> Rows:
    said = json.loads(path.read_text())
    activations = said["activations"]
    assert "compression" not in activations
    flat = np.frombuffer(base64.b64decode(activations["data"]), dtype=activations["dtype"])
    rows = np.float32(said["scale"]) * flat.reshape(activations["shape"])
    return dict(zip(said["layer_indices"], rows, strict=True))


def steering_lite(path: Path) -> Rows:
    with safe_open(path, framework="np") as file:
        config = json.loads(file.metadata()["cfg"])
        rows = {int(name[len("layer") : -len(".v")]): file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    assert (config["method"], config["target"], sorted(rows)) == ("mean_diff", "residual", config["layers"])
    return {block: np.float32(config["coeff"]) * row for block, row in rows.items()}


def svec(path: Path) -> Rows:
    return {int(block): np.array(one, np.float32) for block, one in json.loads(path.read_text())["directions"].items()}


def hotwire(path: Path) -> Rows:
    (said,) = json.loads((path / "manifest.json").read_text())["directions"]
    table = loaded(path / f"{said['name']}.pt")
    assert said["shape"] == list(table.shape)
    return by_row(table)


def saklas(path: Path) -> Rows:
    """As saklas/core/profile.py of 5.3.0 reads it: the exact keys, and the digest of the tensors' bytes."""
    said, raw = json.loads((path / "vector.json").read_text()), (path / "vector.safetensors").read_bytes()
    assert set(said) == {"format_version", "saklas_version", "method", "tensor_sha256", "provenance"}
    assert (said["format_version"], said["method"]) == (6, "profile")
    assert said["tensor_sha256"] == hashlib.sha256(raw).hexdigest()
    return {int(name.removeprefix("layer_")): row for name, row in load(raw).items()}


READ: dict[str, Callable[[Path], Rows]] = {
    "llama.cpp": gguf,
    "repeng": gguf,
    "easysteer": gguf,
    "steering-vectors": lambda path: {block: row.numpy() for block, row in loaded(path).items()},
    "lm-eval": lm_eval_steered,
    "vllm-lens": vllm_lens,
    "hotwire": hotwire,
    "steering-lite": steering_lite,
    "aisteer360": lambda path: {block: row[0] for block, row in svec(path).items()},
    "activation-steering": lambda path: {block - 1: row for block, row in svec(path).items()},
    "caa": lambda path: {
        int(one.name.split("_")[2]): loaded(one).numpy() for one in path.glob("vec_layer_*_random-0.pt")
    },
    "easyedit": lambda path: {
        int(one.stem.removeprefix("layer_")): loaded(one).numpy() for one in (path / "caa_vector").glob("layer_*.pt")
    },
    "persona-vectors": lambda path: by_row(loaded(path), before=1),
    "unlock": lambda path: by_row(loaded(path)),
    "saklas": saklas,
}
"""A format's name -> block and what the other tool adds at its output at strength 1, by that tool's own rules."""


def written(name: str, folder: Path, **changes: Any) -> Path:
    export = Export(**{"vector": make_vector(5), "alpha": ALPHA, "layers": (1, 3), "path": "layers"} | changes)
    return write_export(export, EXPORTS[name], folder / f"out{EXPORTS[name].suffix}")


def test_every_format_is_read_back_here() -> None:
    assert list(READ) == list(EXPORTS)


@pytest.mark.parametrize("name", READ)
def test_the_other_tool_adds_alpha_times_the_direction_at_the_same_block(name: str, tmp_path: Path) -> None:
    path = written(name, tmp_path)
    found, directions = READ[name](path), make_vector(5).directions
    assert sorted(found) == [1, 3]
    for block, row in found.items():
        assert row.dtype == np.float32
        np.testing.assert_array_equal(row, np.float32(ALPHA) * directions[block])
    first = {one: one.read_bytes() for one in [path, *path.rglob("*")] if one.is_file()}
    written(name, tmp_path / "again")
    again = tmp_path / "again" / path.name
    assert {one: (again / one.relative_to(path)).read_bytes() for one in first} == first


def test_headers_say_what_their_readers_need_and_hold_the_passport(tmp_path: Path) -> None:
    vector = make_transferred(child={"architecture": "llama"})
    for name, order in {"repeng": [2, 1, 0], "easysteer": [0, 1, 2]}.items():
        reader = GGUFReader(write_export(Export(vector), EXPORTS[name], tmp_path / f"{name}.gguf"))
        fields = {key: field.contents() for key, field in reader.fields.items()}
        assert fields["general.architecture"] == "controlvector"
        assert fields["controlvector.model_hint"] == "llama"
        assert fields["controlvector.layer_count"] == 3
        assert [one.name for one in reader.tensors] == [f"direction.{block}" for block in order]
        assert json.loads(fields["lm_eval_steer"])["passport"] == vector.passport
    assert "controlvector.method" in fields
    path = write_export(Export(vector), EXPORTS["aisteer360"], tmp_path / "v.svec")
    assert json.loads(path.read_text())["model_type"] == "llama"


def test_a_vector_that_keeps_its_lengths_is_exported_as_long(tmp_path: Path) -> None:
    lengths = [0.5, 20.0, 3.0]
    blocks = [{"block": block, "length": length} for block, length in enumerate(lengths)]
    one = make_vector()
    vector = SteeringVector(one.directions, one.layers, one.passport | {"scale": "keep", "blocks": blocks})
    found = gguf(write_export(Export(vector), EXPORTS["repeng"], tmp_path / "v.gguf"))
    assert [float(np.linalg.norm(found[block])) for block in range(3)] == pytest.approx(lengths, rel=1e-6)


@pytest.mark.parametrize(
    ("name", "changes", "sentence"),
    [
        ("llama.cpp", {"layers": None}, r"llama.cpp steers no block 0: export the others with --layers 1-4"),
        ("activation-steering", {"layers": None}, r"behind block 4 there is none: export the others with --layers 0-3"),
        ("lm-eval", {"path": None}, r"names blocks as the model does: name it with --child"),
        ("repeng", {"alpha": 0.0}, r"--alpha 0 exports nothing"),
        ("repeng", {"alpha": float("nan")}, r"--alpha nan exports nothing"),
        ("repeng", {"alpha": 1e39}, r"--alpha 1e\+39 times the direction of block 1 is beyond float32"),
        ("repeng", {"layers": (1, 7)}, r"--layers names block 7, and the vector has none for it"),
    ],
)
def test_what_a_format_cannot_hold_is_refused_and_nothing_is_written(
    name: str, changes: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(SteeringError, match=sentence):
        written(name, tmp_path, **changes)
    assert list(tmp_path.iterdir()) == []


def test_files_have_their_suffix_and_folders_are_new(tmp_path: Path) -> None:
    with pytest.raises(SteeringError, match=r"v.pt: a control vector of repeng is a .gguf file"):
        write_export(Export(make_vector()), EXPORTS["repeng"], tmp_path / "v.pt")
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "a").write_text("")
    with pytest.raises(SteeringError, match="there exists and is not empty"):
        write_export(Export(make_vector()), EXPORTS["caa"], tmp_path / "there")


def export_command(*words: object) -> int:
    return main(["vectors", "export", *map(str, words)])


def test_the_harness_model_steered_answers_as_the_oracle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from lm_eval.models.hf_steered import SteeredModel

    child = save_model(tmp_path / "random-0", "gpt2")
    make_vector().save(tmp_path / "v.safetensors")
    out = tmp_path / "v.pt"
    assert (
        export_command(tmp_path / "v.safetensors", "--to", "lm-eval", "--alpha", 3, "--child", child, "--out", out) == 0
    )
    told = capsys.readouterr().out
    assert f"(a file of the harness's model `steered`): {DEPTH} directions of width {WIDTH}." in told
    assert f"lm_eval --model steered --model_args pretrained=CHILD,steer_path={out} --tasks TASK" in told
    assert sorted(loaded(out)) == ["h.0", "h.1", "h.2"]
    theirs = SteeredModel(str(child), str(out), device="cpu", dtype="float32")
    text = [5, 6, 7, 8, 9]
    found = theirs._model_call(torch.tensor([text]))[0]
    edits = [Edit(block, "add", v, 3.0) for block, v in enumerate(make_vector().directions)]
    expected = Reference(theirs.model, intervene(edits)).logits(text, len(text))
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


def test_how_a_vector_is_meant_to_act_is_told_as_no_file_holds_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = make_vector()
    for name, steering in {"v": {"tokens": "last", "dose": 0.1}, "w": {"unknown": "x"}}.items():
        SteeringVector(one.directions, one.layers, one.passport | {"steering": steering}).save(tmp_path / f"{name}.pt")
        assert export_command(tmp_path / f"{name}.pt", "--to", "unlock", "--out", tmp_path / f"{name}.pth") == 0
        told = "It is meant to act under dose=0.1, tokens=last, and was judged so: no file of another tool says that."
        assert (told in capsys.readouterr().out) == (name == "v")


def test_a_profile_of_saklas_comes_back_bit_for_bit(tmp_path: Path) -> None:
    vector = make_vector(5)
    folder = write_export(Export(vector), EXPORTS["saklas"], tmp_path / "profile")
    back = load_vector(folder / "vector.safetensors")
    assert (back.fingerprint, back.passport["parent"]) == (vector.fingerprint, vector.passport["parent"])


def test_a_vector_of_another_model_is_brought_to_the_child_as_a_run_does_it(tmp_path: Path) -> None:
    child = save_model(tmp_path / "child", "llama")
    wide = make_vector(5, WIDTH + 8)
    wide.save(tmp_path / "v.safetensors")
    out = tmp_path / "v.gguf"
    assert export_command(tmp_path / "v.safetensors", "--to", "repeng", "--child", child, "--out", out) == 0
    cut = wide.directions[:DEPTH, :WIDTH]
    found = gguf(out)
    assert sorted(found) == list(range(DEPTH))
    for block, row in found.items():
        np.testing.assert_allclose(row, cut[block] / np.linalg.norm(cut[block]), rtol=1e-5)


def test_a_vector_that_was_transferred_to_another_child_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    child = save_model(tmp_path / "other", "llama")
    make_transferred().save(tmp_path / "v.safetensors")
    out = tmp_path / "v.gguf"
    assert export_command(tmp_path / "v.safetensors", "--to", "repeng", "--child", child, "--out", out) == 2
    assert "the vector was transferred to child" in capsys.readouterr().err
    assert export_command(tmp_path / "v.safetensors", "--to", "repng", "--out", out) == 2
    assert "there is no export format 'repng': use one of llama.cpp, repeng" in capsys.readouterr().err
    assert not out.exists()


def test_folding_and_exporting_are_the_same_shift(tmp_path: Path) -> None:
    """A checkpoint with the steering inside, and a file for a tool that adds it: both are what the oracle does."""
    import lm_eval_steer

    model, out = make_model("llama"), written("steering-vectors", tmp_path, vector=make_vector(), layers=None)
    folded = lm_eval_steer.fold(model, make_vector(), alpha=ALPHA)
    for block, row in loaded(out).items():
        assert torch.equal(folded.model.layers[block].mlp.down_proj.bias, row)
