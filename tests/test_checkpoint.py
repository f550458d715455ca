"""The digest of a model: every change of its files that changes responses is noticed, and nothing else."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import models
from lm_eval_steer.models import checkpoint
from lm_eval_steer.models.checkpoint import checkpoint_digest, weights_digest
from lm_eval_steer.models.hf import SteeredHF
from lm_eval_steer.models.loaded import model_digest, tokenizer_digest


def of(folder: Path, **arguments: Any) -> str | None:
    return checkpoint_digest({"pretrained": str(folder), **arguments})


def edit_json(name: str) -> Callable[[Path], object]:
    def edit(folder: Path) -> None:
        path = folder / name
        path.write_text(json.dumps(json.loads(path.read_text()) | {"changed": 1}))

    return edit


def edit_weight(folder: Path) -> None:
    """One number of the last tensor but one, in place."""
    tensors = load_file(folder / "model.safetensors")
    list(tensors.values())[-2].view(-1)[17] += 1e-3
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


CHANGES: dict[str, Callable[[Path], object]] = {
    "weights": edit_weight,
    "config": edit_json("config.json"),
    "generation config": edit_json("generation_config.json"),
    "tokenizer": edit_json("tokenizer.json"),
    "tokenizer config": edit_json("tokenizer_config.json"),
    "template": lambda folder: (folder / "chat_template.jinja").write_text("{{ messages }}!"),
    "named template": lambda folder: (folder / "additional_chat_templates" / "tools.jinja").write_text("b"),
    "code": lambda folder: (folder / "modeling_own.py").write_text("x = 2"),
    "gone": lambda folder: (folder / "generation_config.json").unlink(),
    "another shard": lambda folder: (folder / "model-2.safetensors").write_bytes(b"12"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = models.save_model(tmp_path_factory.mktemp("checkpoint"), "llama", chat_template="{{ messages }}")
    (made / "additional_chat_templates").mkdir()
    (made / "additional_chat_templates" / "tools.jinja").write_text("a")
    (made / "modeling_own.py").write_text("x = 1")
    return made


@pytest.mark.parametrize("whole", [True, False])
def test_every_change_is_noticed_and_no_other(
    whole: bool, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not whole:  # as of a checkpoint of 15 GB, of which samples are taken
        monkeypatch.setattr(checkpoint, "WHOLE", 1000)
    before = of(folder)
    assert before is not None
    seen = {before}
    for name, change in CHANGES.items():
        copy = shutil.copytree(folder, tmp_path / name.replace(" ", "_"))  # elsewhere, with other times
        for other in ("README.md", "trainer_state.json", "optimizer.pt", "lm_eval_steer.json"):
            (copy / other).write_text(name)
        (copy / "runs").mkdir()
        assert of(copy) == before
        change(copy)
        seen.add(str(of(copy)))
    assert len(seen) == 1 + len(CHANGES)


def test_of_large_files_every_tensor_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "WHOLE", 1000)
    monkeypatch.setattr(checkpoint, "PIECES", 2)  # as of a checkpoint with thousands of tensors
    tensors = {f"t{number}": torch.zeros(3000 * (number + 1)) for number in range(4)}
    seen = set()
    for changed in (None, *tensors):
        for suffix in ("safetensors", "bin", "gguf"):
            place = tmp_path / f"{changed} {suffix}"
            place.mkdir()
            now = {name: tensor + 0.5 * (name == changed) for name, tensor in tensors.items()}
            if suffix == "safetensors":
                save_file(now, place / "model.safetensors")
            elif suffix == "bin":
                torch.save(now, place / "pytorch_model.bin")
            else:  # of a form that is not looked into
                (place / "model.gguf").write_bytes(b"".join(tensor.numpy().tobytes() for tensor in now.values())[:1001])
            seen.add(of(place, gguf_file="model.gguf") if suffix == "gguf" else of(place))
    assert len(seen) == 2 * 5 + 2
    broken = tmp_path / "broken"
    broken.mkdir()
    for head in (b"\xff" * 8, (10**4).to_bytes(8, "little"), (1990).to_bytes(8, "little") + b"[" * 1990):
        (broken / "model.safetensors").write_bytes(head.ljust(2000, b"\x00"))
        assert of(broken) is not None  # whoever loads it says what is wrong


def test_what_is_added_to_a_model_counts(folder: Path, tmp_path: Path) -> None:
    seen = {of(folder)}
    for name in ("peft", "delta", "tokenizer", "lora_local_path"):
        added = tmp_path / name
        added.mkdir()
        for content in (b"a", b"b"):
            (added / "adapter_model.safetensors").write_bytes(content)
            (added / "adapter_config.json").write_bytes(content)
            seen.add(of(folder, **{name: str(added)}))
    assert len(seen) == 9
    (tmp_path / "a.gguf").write_bytes(b"a")
    (tmp_path / "b.gguf").write_bytes(b"b")
    one = of(tmp_path, gguf_file="a.gguf")
    (tmp_path / "b.gguf").write_bytes(b"c")  # another quantisation beside it
    assert of(tmp_path, gguf_file="a.gguf") == one != of(tmp_path, gguf_file="b.gguf")
    assert of(tmp_path / "a.gguf") is not None


def test_of_a_model_on_the_hub_the_commit_counts(tmp_path: Path) -> None:
    def of_hub(**changes: Any) -> str | None:
        return checkpoint_digest({"pretrained": "org/model", "cache_dir": str(tmp_path), **changes})

    assert of_hub() is None
    refs = tmp_path / "models--org--model" / "refs"
    refs.mkdir(parents=True)
    (refs / "main").write_text("a" * 40)
    (refs / "v2").write_text("b" * 40)
    main = of_hub()
    assert main == of_hub(revision="main") == of_hub(revision="a" * 40) == of_hub(revision=None)
    assert main != of_hub(revision="v2") == of_hub(revision="b" * 40)
    (refs / "main").write_text("b" * 40)
    assert of_hub() == of_hub(revision="v2")
    for nothing in (None, "", 5, object(), tmp_path / "none", "x" * 5000, "a\x00b", "~"):
        assert checkpoint_digest({"pretrained": nothing}) is None


class Packed(Tensor):
    """Stands for torchao's quantised weights: numbers and their scale in two tensors, and no view of the whole."""

    @staticmethod
    def __new__(cls, numbers: Tensor, scale: Tensor) -> Packed:
        return Tensor._make_wrapper_subclass(cls, numbers.shape, dtype=torch.float32)  # type: ignore[attr-defined]

    def __init__(self, numbers: Tensor, scale: Tensor) -> None:
        self.numbers, self.scale = numbers, scale

    def __tensor_flatten__(self) -> tuple[list[str], None]:
        return ["numbers", "scale"], None

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.detach.default:
            return args[0]
        raise NotImplementedError(f"{func} of quantised weights")


def test_of_a_model_that_was_handed_over_parameters_and_buffers_count() -> None:
    def make(change: Callable[[nn.Module], object] = lambda model: None) -> str:
        model = nn.Module()
        model.weight = nn.Parameter(torch.arange(6.0).reshape(2, 3))
        model.packed = nn.Parameter(Packed(torch.ones(2, dtype=torch.int8), torch.tensor(0.5)), requires_grad=False)
        model.register_buffer("scales", torch.ones(3, dtype=torch.bfloat16))
        model.register_buffer("mask", torch.zeros(2, dtype=torch.complex64))
        model.register_buffer("cached", torch.zeros(2), persistent=False)  # computed, maybe otherwise elsewhere
        change(model)
        return model_digest(model)

    def set_packed(model: Any, name: str, value: Tensor) -> None:
        setattr(model.packed, name, value)

    changes: list[Callable[[Any], object]] = [
        lambda model: model.weight.data[1].add_(1),
        lambda model: model.scales.add_(1),
        lambda model: model.mask.add_(1j),
        lambda model: set_packed(model, "numbers", torch.zeros(2, dtype=torch.int8)),
        lambda model: set_packed(model, "scale", torch.tensor(0.25)),
        lambda model: model.register_buffer("more", torch.zeros(0)),
    ]
    assert make() == make(lambda model: model.cached.add_(1))
    assert len({make(), *map(make, changes)}) == 1 + len(changes)


def test_a_tokenizer_counts_with_its_template() -> None:
    plain, other = models.make_tokenizer(), models.make_tokenizer("{{ messages }}")
    assert tokenizer_digest(plain) == tokenizer_digest(models.make_tokenizer()) != tokenizer_digest(other)


def test_the_model_class_has_the_digest_of_the_files(folder: Path) -> None:
    lm = SteeredHF(str(folder), device="cpu", alpha=0)
    assert lm._model_settings["weights"] == of(folder)
    taken = [
        SteeredHF(model, tokenizer=tokenizer, device="cpu", alpha=0)._model_settings["weights"]
        for model in (models.make_model("llama"), models.make_model("llama"), models.make_model("llama", seed=1))
        for tokenizer in (models.make_tokenizer(), models.make_tokenizer("{{ messages }}"))
    ]
    assert taken[:2] == taken[2:4]
    assert len(set(taken)) == 4


def test_files_are_read_without_torch() -> None:
    import subprocess

    code = "import sys; from lm_eval_steer.models.checkpoint import checkpoint_digest; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_of_a_child_the_weights_alone_count(folder: Path, tmp_path: Path) -> None:
    """Not what a release of transformers writes anew beside them, such as its own version."""

    def weights_of(place: Path, **arguments: Any) -> str | None:
        return weights_digest({"pretrained": str(place), **arguments})

    before = weights_of(folder)
    assert before is not None
    changed = set()
    for name, change in CHANGES.items():
        copy = shutil.copytree(folder, tmp_path / name.replace(" ", "_"))
        change(copy)
        if weights_of(copy) != before:
            changed.add(name)
    assert changed == {"weights", "another shard"}
    with_bin = shutil.copytree(folder, tmp_path / "with_bin")
    (with_bin / "pytorch_model.bin").write_bytes(b"12")  # which nobody loads beside safetensors
    assert weights_of(with_bin) == before
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    assert weights_of(folder, peft=str(adapter)) is None  # whoever loads it says what is wrong
    (adapter / "adapter_model.safetensors").write_bytes(b"12")
    assert weights_of(folder, tokenizer=str(tmp_path)) == before != weights_of(folder, peft=str(adapter)) is not None
    for nothing in (str(tmp_path / "nothing"), None, 3):
        assert weights_digest({"pretrained": nothing}) is None


def test_a_model_of_the_hub_and_its_copy_in_a_folder_have_the_same_weights(folder: Path, tmp_path: Path) -> None:
    kept, commit = tmp_path / "models--org--model", "c" * 40
    shutil.copytree(folder, kept / "snapshots" / commit)
    (kept / "refs").mkdir()
    (kept / "refs" / "main").write_text(commit)
    told = {"pretrained": "org/model", "cache_dir": str(tmp_path)}
    assert weights_digest(told) == weights_digest({"pretrained": str(folder)}) is not None
    assert weights_digest(told | {"revision": "another"}) is None


def test_the_model_class_knows_itself_by_its_weights(folder: Path) -> None:
    known = SteeredHF(str(folder), device="cpu", alpha=0).model_identity
    assert (known.name, known.architecture) == (str(folder), "llama")
    assert known.digest == weights_digest({"pretrained": str(folder)})
