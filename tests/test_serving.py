"""What a request to a server asks for, without a server: names, strengths, positions, and salts of the prefix cache."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import ROOT, make_transferred, make_vector
from lm_eval_steer.cli.main import main
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.intervention import Edit, intervene
from lm_eval_steer.serving.asked import Asked, read_asked
from lm_eval_steer.serving.vectors import Model, Vectors, read_vectors
from lm_eval_steer.vectors.identity import Identity
from models import DEPTH, WIDTH

MODEL = Model(DEPTH, WIDTH, "float16", Identity("org/model", architecture="llama"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vectors")
    make_vector(seed=0).save(folder / "one.safetensors")
    make_vector(seed=1).save(folder / "two.pt")
    make_transferred().save(folder / "far.safetensors")
    (folder / "damaged.safetensors").write_bytes(b"no")
    (folder / "notes.md").write_text("text")
    (folder / ".one.safetensors").write_bytes(b"half of a file")
    (folder / "sub.safetensors").mkdir()
    return folder


@pytest.fixture(scope="module")
def vectors(folder: Path) -> Vectors:
    return read_vectors(folder, MODEL)


def test_every_vector_of_a_folder_that_can_steer_the_model_is_known_by_its_name(vectors: Vectors) -> None:
    assert list(vectors.plans) == ["one", "two"]
    for seed, one in enumerate(vectors.interventions):
        assert one == intervene(Edit(block, "add", v, 1.0) for block, v in enumerate(make_vector(seed=seed).directions))
    assert list(vectors.refused) == ["damaged", "far"]
    assert "was transferred to child" in vectors.refused["far"]


def test_folders_without_a_vector_or_with_two_of_one_name_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(SteeringError, match="can steer this model: it has none"):
        read_vectors(tmp_path, MODEL)
    with pytest.raises(SteeringError, match=r"there is no folder '.*nowhere'"):
        read_vectors(tmp_path / "nowhere", MODEL)
    shutil.copy(folder / "far.safetensors", tmp_path)
    with pytest.raises(SteeringError, match="can steer this model; far: the vector was transferred"):
        read_vectors(tmp_path, MODEL)
    shutil.copy(folder / "two.pt", tmp_path / "far.pt")
    with pytest.raises(SteeringError, match=r"far\.pt and far\.safetensors would have one name"):
        read_vectors(tmp_path, MODEL)


def test_a_request_names_vector_strength_and_positions(vectors: Vectors) -> None:
    second = vectors.interventions[1].fingerprint
    cases: list[tuple[dict[str, Any], dict[str, Any], Asked | None]] = [
        ({"vectors": "two", "alpha": 0.1}, {}, Asked(1, float(np.float32(0.1)), "all", second)),
        ({"vectors": "two", "alpha": "-2", "tokens": "generated"}, {}, Asked(1, -2.0, "generated", second)),
        ({}, {"vectors": "two", "alpha": 3}, Asked(1, 3.0, "all", second)),
        ({"alpha": 4, "tokens": "last"}, {"vectors": "two", "alpha": 3}, Asked(1, 4.0, "last", second)),
        ({"alpha": 0}, {"vectors": "two", "alpha": 3}, None),
        ({"alpha": 0}, {}, None),
        ({}, {}, None),
    ]
    for given, default, expected in cases:
        assert read_asked(given, vectors, default) == expected


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (
            {"vectors": "on", "alpha": 1},
            r"'on' names none of this server's vectors .the nearest name is one.: ",
        ),
        ({"vectors": "../one", "alpha": 1}, "names none of this server's vectors.*: use one, two"),
        ({"vectors": "one.safetensors", "alpha": 1}, "names none of this server's vectors"),
        ({"vectors": ["one"], "alpha": 1}, "names none of this server's vectors"),
        ({"vectors": "far", "alpha": 1}, "vectors='far' cannot steer this model: the vector was transferred"),
        ({"alpha": 1}, "vectors is missing: name one of this server's, one, two"),
        ({"vectors": "nobody", "alpha": 0}, "names none"),
        ({"vectors": "one"}, "alpha is missing"),
        ({"vectors": "one", "alpha": "much"}, "alpha='much' is not understood"),
        ({"vectors": "one", "alpha": float("nan")}, "alpha=nan is not a finite number"),
        ({"vectors": "one", "alpha": [1, 2]}, r"alpha=\[1, 2\] holds 2 strengths: give a request one"),
        ({"vectors": "one", "alpha": 1e6}, "the largest number in float16 is 6.6e\\+04"),
        ({"vectors": "one", "alpha": 1e-60}, "alpha=1e-60 is 0 in float32"),
        ({"vectors": "one", "alpha": 1, "tokens": "some"}, "tokens='some' is not understood: use one of all, prompt"),
        ({"vectors": "one", "alpha": 1, "tokens": "match:[198]"}, "a server steers by positions: leave match: out"),
        ({"vectors": "one", "alpha": 1, "token": "all"}, "the key 'token', which nothing reads .*tokens.: use vectors"),
        ({"strength": 1}, "the key 'strength', which nothing reads: use vectors, alpha, tokens"),
    ],
)
def test_what_a_server_does_not_take_is_one_sentence(given: dict[str, Any], sentence: str, vectors: Vectors) -> None:
    with pytest.raises(SteeringError, match=sentence):
        read_asked(given, vectors, {})


def test_salts_part_what_may_not_share_keys_and_values(vectors: Vectors) -> None:
    asked = [
        Asked(number, alpha, tokens, vectors.interventions[number].fingerprint)
        for number in (0, 1)
        for alpha in (1.0, 1.5)
        for tokens in ("all", "prompt", "generated", "last:-2")
    ]
    salts = {
        (place, prompt, other): one.salt(prompt, other)
        for place, one in enumerate(asked)
        for prompt in (5, 6)
        for other in (None, "mine")
    }
    for place, one in enumerate(asked):
        same = salts[place, 5, None] == salts[place, 6, None]
        assert same == (one.tokens == "all")  # what else is steered depends on where the prompt ends
    assert len(set(salts.values())) == 2 * (2 * 2 * 1 * 1 + 2 * 2 * 3 * 2)


def test_the_shipped_folder_serves_its_vectors_to_smollm2() -> None:
    """Those of its parents and those that were transferred to it, known by its weights wherever it lies."""
    digest = "3ca7b3ed8a2aa46b88b4ce4cc2cd5f8c78bbb05a23a89efb64ffcb2cd46d78b9"
    found = read_vectors(ROOT / "vectors", Model(30, 576, "float32", Identity("/srv/m", None, "llama", digest)))
    assert {"smollm2_sentiment", "qwen2.5-coder-0.5b_sentiment_for_smollm2"} <= set(found.plans)
    assert "smollm2_gsm8k_direct_for_qwen2.5-coder-1.5b" in found.refused


@pytest.mark.parametrize("words", [["org/model", "--vectors", "vectors"], ["--vectors", "vectors"], []])
def test_the_command_wants_a_folder_and_then_a_model(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", *words]) == 2
    assert "lm-eval-steer serve: name a folder of vectors and then a model" in capsys.readouterr().err
