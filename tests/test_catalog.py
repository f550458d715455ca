"""find_vector: the order of places, and the sentence of a miss."""

from __future__ import annotations

from pathlib import Path

import pytest

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.vectors import catalog
from lm_eval_steer.vectors.catalog import extract_command, find_vector, shipped_names


@pytest.fixture(autouse=True)
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of shipped vectors; the working directory is another empty folder."""
    folder = tmp_path / "shipped"
    folder.mkdir()
    (tmp_path / "work" / "vectors").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setattr(catalog, "shipped_folder", lambda: folder)
    return folder


@pytest.mark.parametrize("name", ["v.safetensors", "v"])
def test_path_then_vectors_then_shipped(name: str, shipped: Path) -> None:
    places = [Path("v.safetensors"), Path("vectors/v.safetensors"), shipped / "v.safetensors"]
    for place in reversed(places):
        place.touch()
        assert find_vector(name) == place


def test_safetensors_before_pt_inside_one_place_and_place_before_suffix(shipped: Path) -> None:
    (shipped / "v.safetensors").touch()
    Path("vectors/v.pt").touch()
    assert find_vector("v") == Path("vectors/v.pt")
    Path("vectors/v.safetensors").touch()
    assert find_vector("v") == Path("vectors/v.safetensors")
    assert find_vector("v.pt") == Path("vectors/v.pt")


def test_a_name_with_a_dot_is_no_suffix() -> None:
    Path("vectors/qwen2.5-14b.pt").touch()
    assert find_vector("qwen2.5-14b") == Path("vectors/qwen2.5-14b.pt")


def test_a_folder_of_that_name_is_passed_over(shipped: Path) -> None:
    Path("v.pt").mkdir()
    (shipped / "v.pt").touch()
    assert find_vector("v.pt") == shipped / "v.pt"


def test_a_folder_says_what_is_done_with_it() -> None:
    Path("my caa").mkdir()
    with pytest.raises(SteeringError) as caught:
        find_vector("my caa")
    assert str(caught.value) == (
        "my caa is a folder, and a vector is a file: name one in it, or make one of a folder of another tool with "
        "lm-eval-steer vectors import 'my caa' --out FILE"
    )


def test_a_file_that_is_no_vector_is_not_called_missing(shipped: Path) -> None:
    for name in ("notes.txt", "v"):
        Path(name).touch()
        with pytest.raises(SteeringError) as caught:
            find_vector(name)
        assert str(caught.value) == f"{name} is no steering vector: its name does not end in .safetensors or .pt"
    (shipped / "v.pt").touch()
    assert find_vector("v") == shipped / "v.pt"


def test_an_absolute_path_is_looked_for_there_only(tmp_path: Path) -> None:
    Path("v.pt").touch()
    assert find_vector(str(tmp_path / "work" / "v")) == tmp_path / "work" / "v.pt"
    missing = tmp_path / "elsewhere" / "phi4_arith.pt"
    with pytest.raises(SteeringError) as caught:
        find_vector(str(missing))
    assert str(caught.value) == (
        f"no steering vector '{missing}': looked at {missing}; make it with: lm-eval-steer extract "
        f"--model_args pretrained=microsoft/phi-4 --task arith_steer --out {missing}"
    )


def test_the_sentence_of_a_miss(shipped: Path) -> None:
    for name in ("b.pt", "a.safetensors", "__init__.py"):
        (shipped / name).touch()
    with pytest.raises(SteeringError) as caught:
        find_vector("phi4_gsm8k.pt")
    assert str(caught.value) == (
        "no steering vector 'phi4_gsm8k.pt': looked at ./phi4_gsm8k.pt, ./vectors/phi4_gsm8k.pt and the shipped "
        "vectors, which lm-eval-steer vectors list shows; make it with: lm-eval-steer extract --model_args "
        "pretrained=microsoft/phi-4 --task gsm8k_steer --out phi4_gsm8k.pt"
    )


def test_a_miss_by_a_letter_names_the_shipped_vector(shipped: Path) -> None:
    (shipped / "smollm2_arith.safetensors").touch()
    with pytest.raises(SteeringError, match=r"the shipped vectors \(the nearest name is smollm2_arith\), which"):
        find_vector("smolm2_arith")


@pytest.mark.parametrize(
    ("name", "parent", "task", "out"),
    [
        ("phi4_gsm8k.pt", "microsoft/phi-4", "gsm8k_steer", "phi4_gsm8k.pt"),
        ("qwen2.5-14b_arc", "Qwen/Qwen2.5-14B-Instruct", "arc_challenge_steer", "qwen2.5-14b_arc.safetensors"),
        ("vectors/Mistral7b-MATH.safetensors", "mistralai/Mistral-7B-Instruct-v0.3", "math_steer", None),
        ("phi4.0_arith.pt", "microsoft/phi-4", "arith_steer", None),
        ("unknown", "PARENT_MODEL", "gsm8k_steer", "unknown.safetensors"),
        ("research_dolphin.pt", "PARENT_MODEL", "gsm8k_steer", None),  # no arc, no phi
        ("my vector.pt", "PARENT_MODEL", "gsm8k_steer", "'my vector.pt'"),
    ],
)
def test_the_command_that_would_make_it(name: str, parent: str, task: str, out: str | None) -> None:
    assert extract_command(name) == (
        f"lm-eval-steer extract --model_args pretrained={parent} --task {task} --out {out or name}"
    )


def test_what_is_shipped_can_be_found_and_read(monkeypatch: pytest.MonkeyPatch) -> None:
    from lm_eval_steer.vectors.vector import SteeringVector

    monkeypatch.undo()
    for name in shipped_names():
        SteeringVector.load(find_vector(name))
