"""`lm_eval_steer.SteeredModel`: steered until it is unloaded, written to a folder and read again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import lm_eval_steer
from conftest import make_vector
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.vectors.vector import SteeringVector
from models import make_model
from test_steer import PROMPTS, batch, generate, oracle


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(**batch(PROMPTS)).logits


def test_a_model_is_steered_until_it_is_unloaded() -> None:
    model = make_model("llama")
    plain, before = generate(model), logits(model)
    steered = lm_eval_steer.SteeredModel(model, make_vector(), alpha=3)
    found = generate(steered)
    assert found == generate(model) != plain
    assert oracle(make_model("llama")).generate(PROMPTS[0], 5).agrees(found[0])
    assert torch.equal(logits(steered), logits(model))
    assert steered.config is model.config
    assert steered.unload() is model
    assert torch.equal(logits(model), before)
    steered.unload()  # a second time changes nothing


@pytest.mark.parametrize(
    "arguments",
    [
        {"alpha": 2, "tokens": "generated", "layers": "1-2"},
        {"dose": 0.2, "alpha_per_layer": [1, 1, 0.5], "control": "negated"},
        {"alpha": 30, "operator": "rotate", "second": make_vector(seed=1)},
    ],
)
def test_what_was_saved_gives_the_same_numbers(arguments: dict[str, Any], tmp_path: Path) -> None:
    vector = make_vector()
    steered = lm_eval_steer.SteeredModel(make_model("llama"), vector, **arguments)
    wanted, texts = logits(steered), generate(steered)
    steered.save_pretrained(tmp_path / "folder")
    again = lm_eval_steer.SteeredModel.from_pretrained(make_model("llama"), tmp_path / "folder")
    assert again.intervention == steered.intervention
    assert torch.equal(logits(again), wanted)
    assert generate(again) == texts
    kept = SteeringVector.load(tmp_path / "folder" / "vector.safetensors")
    assert kept.fingerprint == vector.fingerprint
    assert kept.passport["parent"] == vector.passport["parent"]
    again.save_pretrained(tmp_path / "second")
    for file in (tmp_path / "folder").iterdir():
        assert (tmp_path / "second" / file.name).read_bytes() == file.read_bytes()


def test_another_model_and_another_folder_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    lm_eval_steer.SteeredModel(make_model("llama"), make_vector(), alpha=2).save_pretrained(folder)
    wider = make_model("llama", hidden_size=64)
    plain = logits(wider)
    with pytest.raises(
        SteeringError, match=r"3 blocks of width 32\), and to .*3 blocks of width 64\) its vector would"
    ):
        lm_eval_steer.SteeredModel.from_pretrained(wider, folder)
    assert torch.equal(logits(wider), plain)
    with pytest.raises(SteeringError, match="folder exists and is not empty"):
        lm_eval_steer.SteeredModel(make_model("llama"), make_vector(), alpha=2).save_pretrained(folder)
    card = json.loads((folder / "steering.json").read_text())
    for changes in ({"arguments": {"record": "x"}}, {"intervention": 1}, {"model": {}}, {"arguments": []}):
        (folder / "steering.json").write_text(json.dumps(card | changes))
        with pytest.raises(SteeringError, match=r"steering\.json holds no steering"):
            lm_eval_steer.SteeredModel.from_pretrained(make_model("llama"), folder)
    with pytest.raises(SteeringError, match=r"steering\.json"):
        lm_eval_steer.SteeredModel.from_pretrained(make_model("llama"), tmp_path)
    odd = lm_eval_steer.SteeredModel(make_model("llama"), make_vector(), alpha=2, alpha_per_layer=(1, 1, float(1)))
    odd._arguments["alpha"] = torch.tensor(1)
    with pytest.raises(SteeringError, match="are no JSON"):
        odd.save_pretrained(tmp_path / "odd")
    with pytest.raises(TypeError, match="SteeredModel takes no record: use alpha"):
        lm_eval_steer.SteeredModel(make_model("llama"), make_vector(), alpha=1, record="x")
