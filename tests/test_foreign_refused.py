"""Files of other tools that are no vectors, contradict their parent, or are damaged: one sentence each."""

from __future__ import annotations

import os
import pickle
import re
import resource
import zipfile
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import foreign
import mutations
from foreign import BLOCKS, FILES, WIDTH
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.vectors.foreign import FOREIGN, Answers, import_vector
from lm_eval_steer.vectors.foreign.containers.safetensors_file import Tensors
from lm_eval_steer.vectors.foreign.containers.torch_file import read_torch

PARENT = {"name": "org/m", "num_blocks": BLOCKS, "hidden_size": WIDTH, "architecture": "llama"}


def read(path: Path, name: str = "auto", force: bool = False, parent: Any = PARENT, **given: Any) -> Any:
    return import_vector(path, Answers(given, parent, force), name)


def refusal(path: Path, **given: Any) -> str:
    with pytest.raises(SteeringError) as caught:
        read(path, **given)
    assert str(path) in str(caught.value)
    return str(caught.value)


# Pickles


class Runs:
    """An object whose pickle runs a command where it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.path}",)


class RepReader:
    """As that of RepE, by its name."""

    def __init__(self) -> None:
        self.directions = {-1: np.zeros((1, WIDTH))}


@pytest.mark.parametrize("save", ["torch", "legacy", "pickle"])
def test_no_code_of_a_pickle_runs(save: str, tmp_path: Path) -> None:
    touched, path = tmp_path / "touched", tmp_path / "v.pt"
    for content in (Runs(touched), {"dir": Runs(touched), "avg_proj": 1.0}):
        if save == "pickle":
            path.write_bytes(pickle.dumps(content))
        else:
            torch.save(content, path, _use_new_zipfile_serialization=save == "torch")
        assert "a pickled object" in refusal(path) or "Python object of the class posix.system" in refusal(
            path, layer=1
        )
        assert not touched.exists()


def test_a_rep_reader_is_refused_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "reader.pkl"
    path.write_bytes(pickle.dumps(RepReader()))
    assert "RepReader (RepE), whose directions, signs and layers are kept apart" in refusal(path)


class SteeringVector:
    """As that of the library steering-vectors, by its fields."""

    def __init__(self, kind: str) -> None:
        self.layer_activations = {n: torch.from_numpy(foreign.rows()[n]) for n in (1, 3)}
        self.layer_type = kind


def test_a_steering_vector_of_that_library_is_read_without_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys
    import types

    module = types.ModuleType("steering_vectors.steering_vector")
    module.SteeringVector = SteeringVector  # type: ignore[attr-defined]
    monkeypatch.setattr(SteeringVector, "__module__", module.__name__)
    monkeypatch.setitem(sys.modules, "steering_vectors", types.ModuleType("steering_vectors"))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    path = foreign.torch_save(tmp_path / "v.pt", SteeringVector("decoder_block"))
    mlp = foreign.torch_save(tmp_path / "mlp.pt", SteeringVector("mlp"))
    monkeypatch.delitem(sys.modules, module.__name__)
    vector = read(path)
    assert vector.passport["import"]["format"] == "steering-vectors"
    np.testing.assert_allclose(vector.shifts, foreign.rows()[[1, 3]], rtol=3e-7)
    assert "its layer_type is 'mlp'" in refusal(mlp)


@pytest.mark.parametrize("zipped", [True, False])
def test_what_torch_saves_is_read_as_torch_reads_it(zipped: bool, tmp_path: Path) -> None:
    """Views, strides, parameters, every float type, shared storages, and nested containers."""
    base = torch.arange(24, dtype=torch.float32).reshape(4, 6) / 7
    content = {
        "row": base[2],
        "turned": base.T,
        "step": base[:, ::2],
        "half": base.half(),
        "brain": base.bfloat16(),
        "double": base.double(),
        "parameter": torch.nn.Parameter(base[1]),
        "empty": base[:0],
        "number": torch.tensor(0.25),
        "others": OrderedDict(a=[1, 2.5, None, True, "x"], b=(base[0],)),
    }
    path = tmp_path / "v.pt"
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    found = read_torch(path)
    for name in ("row", "turned", "step", "half", "brain", "double", "parameter", "empty", "number"):
        expected = content[name].detach()
        np.testing.assert_array_equal(found[name], expected.float().numpy() if name != "double" else expected.numpy())
        assert found[name].shape == tuple(expected.shape)
    assert found["others"]["a"] == [1, 2.5, None, True, "x"]
    np.testing.assert_array_equal(found["others"]["b"][0], base[0].numpy())


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_arrays_of_numpy_in_a_pickle_are_read(protocol: int, tmp_path: Path) -> None:
    array = foreign.rows()
    content = {"a": array, "t": array.T, "h": array.astype(np.float16), "s": np.float64(0.1)}
    (tmp_path / "v.pkl").write_bytes(pickle.dumps(content, protocol))
    found = read_torch(tmp_path / "v.pkl")
    np.testing.assert_array_equal(found["a"], array)
    np.testing.assert_array_equal(found["t"], array.T)
    np.testing.assert_array_equal(found["h"], array.astype(np.float16))
    assert found["s"] == 0.1


def test_a_direction_of_vllm_hook_is_an_array_of_numpy(tmp_path: Path) -> None:
    path = foreign.torch_save(tmp_path / "v.pt", {"dir": foreign.rows()[0], "avg_proj": torch.tensor(1.0)})
    np.testing.assert_allclose(read(path, layer=2).shifts[0], foreign.rows()[0], rtol=3e-7)


def test_pickles_that_grow_without_end_are_refused(tmp_path: Path) -> None:
    nested: list[Any] = []
    for _ in range(60):
        nested = [nested, nested]
    path = tmp_path / "v.pkl"
    path.write_bytes(pickle.dumps({"dir": nested}))
    assert "hold each other without end" in refusal(path)
    round_and_round: list[Any] = []
    round_and_round.append(round_and_round)
    path.write_bytes(pickle.dumps(round_and_round))
    assert "hold each other without end" in refusal(path)
    path.write_bytes(b"\x80\x02]j\xff\xff\xff\x7f.")
    assert "damaged pickle" in refusal(path)


def test_a_number_cannot_pose_as_a_tensor_of_any_size(tmp_path: Path) -> None:
    """Neither by strides of nothing, nor by many views of one storage."""
    path = foreign.torch_save(tmp_path / "v.pt", torch.zeros(1).expand(10**9))
    assert "far more room than the file has" in refusal(path)
    path = foreign.torch_save(tmp_path / "v.pt", torch.zeros(1).expand(10**4))
    assert "a tensor of shape [10000] on 1 numbers" in refusal(path)
    whole = torch.zeros(1000, 1000)
    path = foreign.torch_save(tmp_path / "v.pt", [whole.view(1000, 1000) for _ in range(30)])
    assert "far more room than the file has" in refusal(path)


def test_zip_files_that_torch_would_not_write(tmp_path: Path) -> None:
    path = foreign.torch_save(tmp_path / "v.pt", torch.zeros(3, 400))
    packed, empty = tmp_path / "packed.pt", tmp_path / "empty.pt"
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as written:
        for entry in archive.infolist():
            written.writestr(entry.filename, archive.read(entry))
    with zipfile.ZipFile(empty, "w") as written:
        written.writestr("a.txt", "text")
    assert "it holds compressed entries" in refusal(packed)
    assert "without one data.pkl" in refusal(empty)


# Files that are something else


def _lfs(folder: Path) -> Path:
    (folder / "v.gguf").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    return folder / "v.gguf"


def _cut(name: str, size: int) -> foreign.Make:
    def make(folder: Path) -> Path:
        path = FILES[name](folder)
        path.write_bytes(path.read_bytes()[:size])
        return path

    return make


def _pt(content: Any, name: str = "v.pt") -> foreign.Make:
    return lambda folder: foreign.torch_save(folder / name, content)


def _steer(told: Any = None, **parameters: torch.Tensor) -> foreign.Make:
    return lambda folder: foreign.lm_steer(folder / "v.pt", told, **parameters)


def _gguf(tensors: Any, **metadata: Any) -> foreign.Make:
    return lambda folder: foreign.write_gguf(folder / "v.gguf", tensors, metadata)


def _svec(directions: Any, **others: Any) -> foreign.Make:
    content = {"model_type": "llama", "directions": directions, "explained_variances": {}} | others
    return lambda folder: foreign.write_json(folder / "v.svec", content)


def _lens(**changes: Any) -> foreign.Make:
    return lambda folder: foreign.write_json(folder / "v.json", foreign.lens(foreign.rows(2), [0, 1]) | changes)


ROW = torch.from_numpy(foreign.rows()[0])
CACHE = {"keys": {0: torch.zeros(2, 3)}, "values": {0: torch.zeros(2, 3)}, "activations": {}}
BAD: dict[str, tuple[foreign.Make, str]] = {
    "LFS pointer": (_lfs, "this is Git LFS's pointer to a file and not the file: fetch it with git lfs pull"),
    "nothing known": (lambda at: at / "x.txt", "no such file of directions"),
    "cut GGUF": (_cut("repeng", 90), "damaged or cut off"),
    "cut safetensors": (_cut("psyctl", -10), "damaged or cut off"),
    "cut torch": (_cut("persona-vectors", 700), "damaged"),
    "cut JSON": (_cut("neuronpedia", 60), "not a whole JSON file"),
    "cache-steering": (_pt(CACHE), "keys and values of a cache (cache-steering)"),
    "transform": (_pt(torch.zeros(2, 3, 4)), "such as a transform of UNLOCK"),
    "list": (_pt([ROW, ROW]), "a list of 2 entries, and nothing says what they are"),
    "LM-Steer, logits": (_steer(offset_vec=torch.ones(1, 9)), "a checkpoint of LM-Steer that adds to logits"),
    "LM-Steer, embeddings": (
        _steer({"adapted_component": "input_embedding"}, add_vec=torch.ones(1, WIDTH)),
        "its arguments say adapted_component 'input_embedding', and the steers that are read are those of final_layer",
    ),
    "LM-Steer, epsilon": (_steer({"epsilon": "x"}, add_vec=torch.ones(1, WIDTH)), "its arguments say epsilon 'x'"),
    "LM-Steer, transferred": (
        _pt([None, {"add_vec": torch.ones(1, WIDTH)}, 1000]),
        "a checkpoint of LM-Steer without the arguments of its training",
    ),
    "LM-Steer, shapes": (
        _steer(projector1=torch.ones(1, WIDTH, 2), projector2=torch.ones(1, WIDTH, 3)),
        "its parameters are projector1 [1, 6, 2], projector2 [1, 6, 3], expected [steers, width, rank]",
    ),
    "LM-Steer, zeros": (
        _steer(projector1=torch.ones(1, WIDTH, 2), projector2=torch.zeros(1, WIDTH, 2)),
        "a map of nothing but zeros changes nothing",
    ),
    "stack of concepts": (_pt(torch.zeros(9, WIDTH), "layer_2.pt"), "a stack of concepts is several vectors"),
    "adapter": (_pt({"lora_A": ROW, "r": 1}, "layer_2.pt"), "holds a table of lora_A, r and not one vector"),
    "whole numbers": (_pt(torch.zeros(4, WIDTH, dtype=torch.int64)), "numbers of torch.LongStorage, expected float32"),
    "zeros": (_pt(torch.zeros(4, WIDTH)), "no direction of a block's output that is not all zeros"),
    "NaN": (_pt(torch.full((4, WIDTH), torch.nan)), "the direction of block 0 holds NaN"),
    "beyond float32": (_pt(torch.full((4, WIDTH), 1e300, dtype=torch.float64)), "numbers that float32 does not hold"),
    "other tensors": (
        _gguf([("direction.1", foreign.rows()[0]), ("bias", foreign.rows()[0])]),
        "the tensor 'bias' beside",
    ),
    "no block": (
        _gguf([("direction.x", foreign.rows()[0])]),
        "N of 'direction.x' is 'x', expected the number of a block",
    ),
    "widths": (_gguf([("direction.1", foreign.rows()[0]), ("direction.2", foreign.rows()[0][:3])]), "widths, 3 and 6"),
    "width": (_gguf([("direction.1", foreign.rows(width=7)[0])]), "are 7 wide, and org/m is 6 wide"),
    "block": (_gguf([("direction.4", foreign.rows()[0])]), "for block 4, and org/m has 4 blocks, counted from 0"),
    "heads": (_svec({"0": [[1.0, 2.0]]}, num_heads=2), "are of attention heads"),
    "plane": (_svec({"0": [[1.0, 2.0], [3.0, 4.0]]}), "block 0 has directions of shape [2, 2], expected [1, width]"),
    "positions": (_lens(position_indices=[3]), "acts at the positions that position_indices names"),
    "list of lenses": (lambda at: foreign.write_json(at / "v.json", [1, 2]), "no format of steering vectors is known"),
    "layers": (_lens(layer_indices=[0]), "have shape [2, 6] and there are 1 layer_indices"),
    "scale 0": (_lens(scale=0), "its scale is 0"),
    "whole JSON numbers": (
        _lens(activations={"data": "", "shape": [1, 6], "dtype": "int16"}),
        "expected float numbers",
    ),
    "post-norm": (
        lambda at: foreign.checkpoint(at / "c", {1: foreign.rows()[1]}, "gemma2"),
        "the file says architecture gemma2, and org/m has llama",
    ),
    "biases of its own": (
        lambda at: foreign.checkpoint(
            at / "c", {1: foreign.rows()[1]}, "llama", **{"model.layers.1.mlp.up_proj.bias": foreign.rows()[1]}
        ),
        "its model has biases of its own",
    ),
    "module": (
        _pt({"layers.1.mlp": {"steering_vector": ROW}}),
        "it acts on the module 'layers.1.mlp', and a vector acts at the outputs of blocks",
    ),
    "clamp": (
        _pt({"layers.1": {"steering_vector": ROW, "action": "clamp"}}),
        "by 'clamp', and a vector is what is added",
    ),
    "head": (_pt({"layers.1": {"steering_vector": ROW, "head_index": 2}}), "acts on head 2"),
}


@pytest.mark.parametrize(("make", "words"), BAD.values(), ids=BAD)
def test_what_is_no_vector_is_refused_in_a_sentence(make: foreign.Make, words: str, tmp_path: Path) -> None:
    given = {"site": "output"} if words.startswith(("are of", "block 0 has")) else {}
    assert words in refusal(make(tmp_path), **given)


def test_an_architecture_or_depth_that_contradicts_the_parent_takes_force(tmp_path: Path) -> None:
    path = foreign.control(tmp_path / "v.gguf", foreign.by_block(foreign.rows()), hint="qwen2")
    assert "the file says architecture qwen2, and org/m has llama: name the model that it was made from" in refusal(
        path
    )
    notes = read(path, force=True).passport["import"]["notes"]
    assert notes == ["Taken by force: the file says architecture qwen2, and org/m has llama."]
    deeper = foreign.torch_save(tmp_path / "x_prompt_avg_diff.pt", torch.from_numpy(foreign.rows(BLOCKS)))
    assert f"the file says number of blocks {BLOCKS - 1}, and org/m has {BLOCKS}" in refusal(deeper)
    for hint in ("Llama", "unknown"):
        read(foreign.control(path, foreign.by_block(foreign.rows()), hint=hint))
    read(path, parent=PARENT | {"architecture": "llama4_text"})


@pytest.mark.parametrize("made", ["sae", "repeng", "lm-eval", "neuronpedia", "tensors", "caa"])
def test_a_file_that_is_named_otherwise_than_it_is(made: str, tmp_path: Path) -> None:
    """Each format reads what fits it whatever it is called, and refuses the rest in a sentence."""
    path = FILES[made](tmp_path)
    for name in FOREIGN:
        with suppress(SteeringError):
            read(path, name, **foreign.ANSWERS.get(name, {}))


def test_a_checkpoint_of_something_else_is_refused_by_the_names_of_its_tensors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be larger than memory."""
    path = foreign.write_safetensors(tmp_path / "m.safetensors", {"0.weight": foreign.rows(), "head": foreign.rows()})
    monkeypatch.setattr(Tensors, "__getitem__", lambda *told: pytest.fail("a tensor was read"))
    assert "no format of steering vectors is known" in refusal(path)


def test_files_that_are_named_after_their_block_say_so(tmp_path: Path) -> None:
    path = foreign.torch_save(tmp_path / "v.pt", torch.from_numpy(foreign.rows()[1]))
    assert "the file has no name that says its block, as vec_layer_7_MODEL.pt does" in refusal(path, name="caa")
    assert "it holds no file that says its block, as layer_7.pt does" in refusal(tmp_path, name="easyedit")


def test_a_depth_is_a_number_of_blocks(tmp_path: Path) -> None:
    path = foreign.torch_save(tmp_path / "v.pt", torch.from_numpy(foreign.rows()))
    assert "--blocks -1 is no number of blocks" in refusal(path, parent={"name": "org/m"}, blocks=-1)


def test_blocks_of_zeros_are_left_out_with_a_note(tmp_path: Path) -> None:
    found = foreign.rows()
    found[[0, 2]] = 0
    vector = read(foreign.torch_save(tmp_path / "v.pt", torch.from_numpy(found)))
    assert vector.layers == (1, 3)
    assert vector.passport["import"]["notes"] == ["Blocks 0, 2: all zeros, so not steered."]


def test_a_norm_behind_the_mlp_takes_an_architecture_without_one(tmp_path: Path) -> None:
    folder = foreign.checkpoint(tmp_path / "c", {1: foreign.rows()[1]}, "gemma2")
    told = refusal(folder, parent=PARENT | {"architecture": "gemma2"})
    assert "of the architecture 'gemma2', where that is not known to be the same" in told
    (folder / "config.json").unlink()
    assert "say it with --architecture" in refusal(folder, parent={"name": "m"})
    assert read(folder, parent={"name": "m", "num_blocks": 4}, architecture="qwen2").layers == (1,)


def test_an_sae_says_which_feature_and_where(tmp_path: Path) -> None:
    folder = FILES["sae"](tmp_path)
    assert "--row 5 is no feature of it: there are 5" in refusal(folder, row=5)
    (folder / "cfg.json").unlink()
    assert "say it with --hook" in refusal(folder, row=1)
    assert read(folder, row=1, hook="blocks.2.hook_resid_pre").layers == (1,)
    assert "expected blocks.N.hook_resid_post" in refusal(folder, row=1, hook="blocks.0.hook_resid_pre")


def test_damaged_files_end_in_a_vector_or_a_sentence(tmp_path: Path) -> None:
    """300 of them; `python tests/mutations.py 10000` tries more."""
    assert set(mutations.FILES) == set(FOREIGN)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = []
    for seed in range(300):
        folder = tmp_path / str(seed)
        folder.mkdir()
        found.append(mutations.attempt(seed, folder))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**20  # KiB
    assert 10 < found.count("vector") < 150
    assert len({re.sub(r"\S*/\S+|\d+", "", one)[:50] for one in found}) > 40
