"""Vectors of other tools: every format is known by its content, and acts here as it does there."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import foreign
from foreign import ANSWERS, BLOCKS, FILES, WIDTH
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.vectors.foreign import FOREIGN, Answers, UnansweredError, import_vector, open_source, recognise
from lm_eval_steer.vectors.vector import SteeringVector

PARENT = {"name": "org/m", "num_blocks": BLOCKS, "hidden_size": WIDTH}


def read(path: Path, name: str = "auto", parent: dict[str, Any] | None = None, **given: Any) -> SteeringVector:
    known = PARENT if parent is None else parent
    return import_vector(path, Answers(given, known), name)


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_known_by_its_content_and_adds_what_its_tool_adds(name: str, tmp_path: Path) -> None:
    path = FILES[name](tmp_path)
    assert recognise(open_source(path)) == name
    vector = read(path, **ANSWERS.get(name, {}))
    shifts = foreign.expected()[name]
    assert vector.layers == tuple(sorted(shifts))
    np.testing.assert_allclose(vector.shifts, np.stack([shifts[n] for n in vector.layers]), rtol=3e-7, atol=1e-7)
    again = SteeringVector.load(vector.save(tmp_path / "out.safetensors"))
    assert again.fingerprint == vector.fingerprint


def test_every_format_that_is_read_has_a_file_here() -> None:
    assert set(FOREIGN) - set(FILES) == {"unlock", "steering-vectors", "low-rank"}  # which have tests of their own


@pytest.mark.parametrize("name", FILES)
def test_a_file_asks_one_question_after_the_other_and_guesses_nothing(name: str, tmp_path: Path) -> None:
    """With each answer left out, the sentence names its argument."""
    path, needed = FILES[name](tmp_path), ANSWERS.get(name, {})
    for left_out in needed:
        with pytest.raises(UnansweredError, match=f"say it with --{left_out}") as caught:
            read(path, **{key: value for key, value in needed.items() if key != left_out})
        assert caught.value.argument == f"--{left_out}"
    if name not in ("hotwire", "lm-steer"):  # which know their model
        with pytest.raises(UnansweredError, match="say it with --parent"):
            read(path, parent={}, **needed)


@pytest.mark.parametrize("name", FILES)
def test_an_answer_to_no_question_is_refused(name: str, tmp_path: Path) -> None:
    path = FILES[name](tmp_path)
    unasked = "debias" if "row" in ANSWERS.get(name, {}) else "row"
    with pytest.raises(SteeringError, match=f"--{unasked} 1 has no meaning for"):
        read(path, **ANSWERS.get(name, {}), **{unasked: 1})


def test_the_passport_says_what_was_read_asked_and_answered(tmp_path: Path) -> None:
    path = FILES["cvector-generator"](tmp_path)
    passport = read(path, **ANSWERS["cvector-generator"]).passport
    assert passport["import"] == {
        "format": "cvector-generator",
        "files": {"v.gguf": hashlib.sha256(path.read_bytes()).hexdigest()},
        "answers": {"method": "pca", "sign": "-", "site": "output"},
        "says": {
            "general.architecture": "controlvector",
            "controlvector.layer_count": 3,
            "controlvector.model_hint": "llama",
        },
        "notes": [],
    }
    assert passport["parent"] == PARENT | {"architecture": "llama"}
    assert passport["method"] == {"method": "pca"}
    assert passport["scale"] == "unit"


def test_unit_directions_keep_every_bit(tmp_path: Path) -> None:
    raw = foreign.rows(unit=True)
    vector = read(foreign.control(tmp_path / "v.gguf", foreign.by_block(raw)))
    np.testing.assert_array_equal(vector.directions, raw)
    assert vector.lengths is None


def test_scale_unit_leaves_lengths_out_and_the_passport_keeps_them(tmp_path: Path) -> None:
    raw = foreign.rows()
    vector = read(foreign.control(tmp_path / "v.gguf", foreign.by_block(raw)), scale="unit")
    assert vector.lengths is None
    np.testing.assert_allclose(np.linalg.norm(vector.shifts, axis=1), 1, atol=1e-6)
    lengths = [one["length"] for one in vector.passport["blocks"]]
    np.testing.assert_allclose(lengths, np.linalg.norm(raw.astype(np.float64), axis=1))


def test_numbers_of_bfloat16_and_float16_come_back_bit_for_bit(tmp_path: Path) -> None:
    import torch

    for kind in (torch.float16, torch.bfloat16):
        tensor = torch.from_numpy(foreign.rows(3, 400, seed=5)).to(kind)
        vector = read(foreign.torch_save(tmp_path / "v.pt", tensor), parent={"name": "m", "num_blocks": 3})
        assert torch.equal(torch.from_numpy(vector.shifts).to(kind), tensor)


# What a file leaves open


@pytest.mark.parametrize(
    ("given", "blocks"),
    [
        ({"method": "mean", "site": "output"}, {1: 1, 2: 1, 3: 1}),
        ({"method": "mean", "site": "input"}, {0: 1, 1: 1, 2: 1}),
        ({"method": "pca", "site": "input", "sign": "+"}, {0: 1, 1: 1, 2: 1}),
        ({"method": "pca", "site": "output", "sign": "-"}, {1: -1, 2: -1, 3: -1}),
    ],
)
def test_cvector_generator_by_method_sign_and_site(
    given: dict[str, str], blocks: dict[int, int], tmp_path: Path
) -> None:
    vector = read(FILES["cvector-generator"](tmp_path), **given)
    assert vector.layers == tuple(blocks)
    sign = next(iter(blocks.values()))
    np.testing.assert_array_equal(vector.shifts, sign * foreign.rows(3, unit=True))


def test_an_input_of_block_0_is_left_out_with_a_note(tmp_path: Path) -> None:
    vector = read(FILES["activation-steering"](tmp_path), site="input")
    assert "The direction of block 0 acts on the embeddings" in vector.passport["import"]["notes"][0]
    assert read(FILES["activation-steering"](tmp_path), site="output").layers == (0, 1, 2, 3)


def test_a_debias_vector_is_added(tmp_path: Path) -> None:
    path = FILES["jukofyork"](tmp_path)
    debias = foreign.control(tmp_path / "m-axis__debias.gguf", {1: foreign.rows(seed=9)[1]}, BLOCKS)
    vector = read(path, debias=str(debias))
    np.testing.assert_allclose(vector.shifts[0], foreign.rows()[1] + foreign.rows(seed=9)[1], rtol=1e-6)
    np.testing.assert_allclose(vector.shifts[1], foreign.rows()[3], rtol=1e-6)
    assert set(vector.passport["import"]["files"]) == {"m-axis__high.gguf", "m-axis__debias.gguf"}
    np.testing.assert_allclose(read(debias).shifts[0], foreign.rows(seed=9)[1], rtol=1e-6)
    with pytest.raises(SteeringError, match="is no control vector in GGUF"):
        read(path, debias=str(foreign.torch_save(tmp_path / "x.pt", [1])))


def test_rows_are_blocks_or_hidden_states_and_never_something_between(tmp_path: Path) -> None:
    import torch

    for count in (BLOCKS, BLOCKS + 1):
        vector = read(foreign.torch_save(tmp_path / "v.pt", torch.from_numpy(foreign.rows(count))))
        np.testing.assert_allclose(vector.shifts, foreign.rows(count)[-BLOCKS:], rtol=3e-7)
    for count in (BLOCKS - 1, BLOCKS + 2):
        path = foreign.torch_save(tmp_path / "v.pt", torch.from_numpy(foreign.rows(count)))
        with pytest.raises(SteeringError, match=f"the file has {count} rows, and its model {BLOCKS} blocks: expected"):
            read(path)


def test_where_a_configuration_is_not_in_reach_the_number_of_blocks_is_asked_for(tmp_path: Path) -> None:
    path = FILES["repeng"](tmp_path)
    with pytest.raises(UnansweredError, match="the configuration of org/m is not in reach: say it with --blocks"):
        read(path, parent={"name": "org/m"})
    vector = read(path, parent={"name": "org/m"}, blocks=32)
    assert vector.passport["parent"] == {
        "name": "org/m",
        "num_blocks": 32,
        "hidden_size": WIDTH,
        "architecture": "llama",
    }


def test_a_single_tensor_asks_for_its_block(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", foreign.rows()[1].astype(np.float64))
    with pytest.raises(UnansweredError, match="say it with --layer"):
        read(tmp_path / "v.npy")
    vector = read(tmp_path / "v.npy", layer=3)
    assert vector.layers == (3,)
    np.testing.assert_allclose(vector.shifts[0], foreign.rows()[1], rtol=3e-7)


def test_a_table_of_layers_asks_what_it_counts(tmp_path: Path) -> None:
    import torch

    path = foreign.torch_save(tmp_path / "v.pt", {n: torch.from_numpy(foreign.rows()[n]) for n in (1, 2)})
    with pytest.raises(UnansweredError, match="say it with --site"):
        read(path)
    assert read(path, site="output").layers == (1, 2)
    assert read(path, site="input").layers == (0, 1)


def test_unlock_has_to_be_named_and_asks_for_the_sign_of_its_pca(tmp_path: Path) -> None:
    import torch

    path = foreign.torch_save(tmp_path / "v.pth", torch.from_numpy(foreign.rows(unit=True)))
    assert recognise(open_source(path)) == "tensors"
    with pytest.raises(UnansweredError, match="--method"):
        read(path, "unlock")
    with pytest.raises(UnansweredError, match="--sign"):
        read(path, "unlock", method="pca")
    np.testing.assert_array_equal(read(path, "unlock", method="pca", sign="-").shifts, -foreign.rows(unit=True))
    np.testing.assert_array_equal(read(path, "unlock", method="mean").shifts, foreign.rows(unit=True))


def test_easyedit_asks_for_the_method_where_the_folder_does_not_tell(tmp_path: Path) -> None:
    folder = FILES["easyedit"](tmp_path)
    assert read(folder).passport["method"] == {"method": "caa"}
    other = folder.rename(folder.with_name("vector"))
    with pytest.raises(UnansweredError, match="the folder 'vector' does not tell"):
        read(other)
    assert read(other / "layer_3.pt", method="sta").layers == (3,)


def test_hotwire_takes_its_model_and_layer_from_where_they_stand(tmp_path: Path) -> None:
    import torch

    path = FILES["hotwire"](tmp_path)
    assert read(path, parent={}, blocks=BLOCKS).passport["parent"]["name"] == "org/m"
    one = foreign.torch_save(path, torch.from_numpy(foreign.rows()[0]))
    with pytest.raises(UnansweredError, match="its manifest recommends 2: say it with --layer"):
        read(one)
    baked = {"base_model": "org/b", "layer": 3, "alpha_used": 0.5, "bias": torch.from_numpy(foreign.rows()[0])}
    vector = read(foreign.torch_save(tmp_path / "b.pt", baked), parent={}, blocks=4)
    assert (vector.layers, vector.passport["parent"]["name"]) == ((3,), "org/b")
    assert vector.passport["import"]["says"]["alpha_used"] == 0.5


def test_vllm_lens_scales_and_shares_of_the_norm(tmp_path: Path) -> None:
    raw = foreign.rows(2)
    path = foreign.write_json(tmp_path / "v.json", foreign.lens(raw, [3, 1], scale=-2.0))
    vector = read(path)
    assert vector.layers == (1, 3)
    np.testing.assert_allclose(vector.shifts, -2 * raw[[1, 0]], rtol=1e-6)
    foreign.write_json(path, [foreign.lens(raw, [3, 1], scale=0.5, norm_match=True)])
    vector = read(path)
    assert vector.lengths is None
    np.testing.assert_allclose(vector.shifts, raw[[1, 0]] / np.linalg.norm(raw[[1, 0]], axis=1)[:, None], rtol=1e-6)
    assert "steer with dose=0.5" in vector.passport["import"]["notes"][0]


def test_matrices_of_low_rank_and_a_vector_of_its_own_are_trained_vectors_too(tmp_path: Path) -> None:
    left, right = foreign.rows(BLOCKS, 2), foreign.rows(2, WIDTH, seed=1)
    path = foreign.write_safetensors(
        tmp_path / "a.safetensors", {"steering_matrix_A": left, "steering_matrix_B": right}
    )
    with pytest.raises(UnansweredError, match="say it with --site"):
        read(path)
    np.testing.assert_allclose(read(path, site="output").shifts, left @ right, rtol=1e-5, atol=1e-6)
    folder = tmp_path / "c"
    foreign.write_safetensors(folder / "model.safetensors", {"model.steering_vector": foreign.rows()[0]})
    with pytest.raises(UnansweredError, match="say it with --module"):
        read(folder)
    assert read(folder, module="model.layers.2").layers == (2,)
    foreign.write_json(folder / "config.json", {"model_type": "qwen2", "add_place": "model.layers.1.mlp.down_proj"})
    vector = read(folder)
    assert vector.layers == (1,)
    assert set(vector.passport["import"]["files"]) == {"config.json", "model.safetensors"}
