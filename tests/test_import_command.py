"""`lm-eval-steer vectors import`, and files of other tools where a vector is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import foreign
import models
from conftest import make_vector
from lm_eval_steer.cli.main import main
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.plan import SteeringPlan
from lm_eval_steer.vectors.catalog import find_vector
from lm_eval_steer.vectors.formats.header import make_header
from lm_eval_steer.vectors.load import load_vector
from lm_eval_steer.vectors.vector import SteeringVector


def test_the_command_writes_a_vector_of_the_parent_and_says_how_to_use_it(
    tmp_path: Path, tiny_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = foreign.rows(models.DEPTH, models.WIDTH)
    source = foreign.control(tmp_path / "calm.gguf", foreign.by_block(raw))
    out = tmp_path / "calm.safetensors"
    assert main(["vectors", "import", str(source), "--parent", str(tiny_folder), "--out", str(out)]) == 0
    vector = SteeringVector.load(out)
    np.testing.assert_allclose(vector.shifts, raw, rtol=3e-7)
    parent = vector.passport["parent"]
    assert (parent["name"], parent["num_blocks"], parent["architecture"]) == (tiny_folder.name, models.DEPTH, "llama")
    assert parent["digest"]
    printed = capsys.readouterr().out
    assert f"Wrote {out} from llama.cpp: {models.DEPTH} directions of width {models.WIDTH}" in printed
    assert f"blocks 0-{models.DEPTH - 1}, of lengths " in printed
    assert f"pretrained={tiny_folder},vectors={out}" in printed
    assert main(["vectors", "show", str(out)]) == 0
    assert "import.format" in capsys.readouterr().out


def test_the_command_says_how_a_map_of_the_last_norm_steers(
    tmp_path: Path, tiny_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    matrices = {f"projector{n}": torch.from_numpy(foreign.rows(models.WIDTH, 2))[None] for n in (1, 2)}
    source, out = foreign.lm_steer(tmp_path / "steer.pt", **matrices), tmp_path / "steer.safetensors"
    assert main(["vectors", "import", str(source), "--parent", str(tiny_folder), "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert f"from lm-steer: 1 map of low rank of width {models.WIDTH}, at final_norm. Use it:" in printed
    assert f"vectors={out},operator=low_rank,alpha=1 --tasks" in printed


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "the file does not say how cvector-generator made it"),
        (["--method", "mean"], "say it with --site"),
        (
            ["--method", "mean", "--site", "output", "--sign", "-"],
            "--sign - has no meaning for a control vector of llama",
        ),
        (["--from", "gguf"], "there is no foreign format 'gguf': use one of easysteer"),
    ],
)
def test_what_is_missing_or_too_much_is_one_sentence(
    words: list[str], told: str, tmp_path: Path, tiny_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = foreign.control(tmp_path / "v.gguf", {1: foreign.rows(1, models.WIDTH)[0]}, np.int32(1))
    arguments = ["vectors", "import", str(source), "--parent", str(tiny_folder), "--out", str(tmp_path / "v.pt")]
    assert main([*arguments, *words]) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "v.pt").exists()


def test_a_parent_out_of_reach_goes_by_its_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = foreign.FILES["repeng"](tmp_path)
    out = tmp_path / "v.safetensors"
    arguments = ["vectors", "import", str(source), "--parent", "org/nowhere", "--out", str(out)]
    assert main(arguments) == 2
    assert "the configuration of org/nowhere is not in reach: say it with --blocks" in capsys.readouterr().err
    assert main([*arguments, "--blocks", "12"]) == 0
    assert SteeringVector.load(out).space == {"name": "org/nowhere", "num_blocks": 12, "hidden_size": foreign.WIDTH}
    assert main(["vectors", "import", str(source), "--parent", str(tmp_path), "--out", str(out)]) == 2


def test_a_file_that_leaves_nothing_open_steers_as_it_stands(tmp_path: Path) -> None:
    """An export of this project carries its passport, and comes back as it went."""
    vector = make_vector(models.DEPTH, models.WIDTH)
    tensors = [(f"direction.{layer}", row) for layer, row in zip(vector.layers, 2 * vector.directions, strict=True)]
    measured = [{"block": 0, "explained_variance": 0.5, "held_out_separation": 0.9, "projection_positive": 3.0}]
    header = make_header(vector.passport | {"blocks": measured})
    path = foreign.write_gguf(tmp_path / "v.gguf", tensors, {"lm_eval_steer": header})
    child = SteeringPlan.build(vectors=str(path), alpha=1).fit(models.DEPTH, models.WIDTH)
    assert child is not None
    np.testing.assert_array_equal(np.stack(list(child.directions.values())), 2 * vector.directions)
    again = load_vector(path)
    assert again.passport["parent"] == vector.passport["parent"]
    assert again.passport["scale"] == "keep"
    assert again.passport["blocks"][0] == {"block": 0, "length": pytest.approx(2), "explained_variance": 0.5}


def test_a_file_that_leaves_something_open_names_the_command(tmp_path: Path) -> None:
    path = foreign.torch_save(tmp_path / "calm.pt", torch.from_numpy(foreign.rows()))
    with pytest.raises(SteeringError) as caught:
        SteeringPlan.build(vectors=str(path), alpha=1)
    assert f"lm-eval-steer vectors import {path} --parent ... --out calm.imported.safetensors" in str(caught.value)
    assert find_vector(str(path)) == path


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_a_vector_of_this_project_is_not_imported(
    suffix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = make_vector(blocks=1).save(tmp_path / f"v{suffix}")
    assert main(["vectors", "import", str(path), "--layer", "0", "--out", str(tmp_path / "out.pt")]) == 2
    assert "it is a vector file of this project already" in capsys.readouterr().err
    assert load_vector(path).fingerprint == SteeringVector.load(path).fingerprint


def test_a_damaged_file_of_this_project_is_refused_as_such(tmp_path: Path) -> None:
    path = make_vector().save(tmp_path / "v.safetensors")
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(SteeringError, match=r"not a readable \.safetensors file"):
        load_vector(path)
