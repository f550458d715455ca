"""A model of a transfer before it is loaded: what is said of it is what the loaded one says."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import models
import twins
from lm_eval_steer.engines.hf.blocks import find_blocks, hidden_size, text_config
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.models.checkpoint import weights_digest
from lm_eval_steer.transfer.model import Model


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma4", "mamba", "t5"])
def test_what_is_said_of_a_model_is_what_the_loaded_one_says(family: str, tmp_path: Path) -> None:
    folder = models.save_model(tmp_path / "tiny-child", family)
    model = Model({"pretrained": f"{folder}/", "dtype": "float32"}, "cpu")
    said = model.description
    lm = model.load()
    assert said == {
        "name": "tiny-child",
        "revision": "main",
        "architecture": text_config(lm.model).model_type,
        "num_blocks": len(find_blocks(lm.model)),
        "hidden_size": hidden_size(lm.model),
        "dtype": "float32",
        "digest": weights_digest({"pretrained": str(folder)}),
    }
    assert model.shape == (models.DEPTH, models.WIDTH)


def test_blocks_and_dtype_are_those_that_were_asked_for(tiny_folder: Path) -> None:
    told = {"pretrained": str(tiny_folder), "dtype": "bfloat16", "blocks": "model.layers"}
    assert Model(told).description["dtype"] == "bfloat16"
    assert Model({"pretrained": str(tiny_folder)}).description["dtype"] == "float32"
    with pytest.raises(SteeringError, match=r"blocks='model.heads' is not a list of modules"):
        Model(told | {"blocks": "model.heads"}).shape  # noqa: B018  # it is read


def test_a_model_of_the_hub_goes_by_its_name_and_the_commit_that_is_here(tmp_path: Path) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    refs = tmp_path / "models--some--child" / "refs"
    refs.mkdir(parents=True)
    (refs / "main").write_text(commit)
    model = Model({"pretrained": "some/child", "cache_dir": str(tmp_path)})
    assert (model.name, model.revision) == ("some/child", commit)
    elsewhere = Model({"pretrained": "other/child", "cache_dir": str(tmp_path), "revision": "v2"})
    assert (elsewhere.name, elsewhere.revision, elsewhere.digest) == ("other/child", "v2", None)
    with pytest.raises(SteeringError, match="the model 'other/child' cannot be loaded"):
        elsewhere.shape  # noqa: B018  # it is read


def test_a_folder_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(SteeringError, match=r"^the model '.*/gone' cannot be loaded: there is no folder '.*/gone'$"):
        Model({"pretrained": str(tmp_path / "gone")}).shape  # noqa: B018  # it is read


def test_a_model_that_is_steered_or_unnamed_is_refused_by_its_option(tiny_folder: Path) -> None:
    with pytest.raises(SteeringError, match="--child_args must name the model"):
        Model({}, option="--child_args")
    with pytest.raises(SteeringError, match="--parent_args has alpha=1, and this model is not steered"):
        Model({"pretrained": str(tiny_folder), "alpha": 1}, option="--parent_args")


def test_twins_have_the_logits_of_the_model_and_its_states_in_another_basis() -> None:
    """The condition under which a map between twins has one right answer."""
    model = models.make_model("llama")
    for parameter in model.parameters():
        if parameter.dim() == 1:  # of norms, which are 1 in a new model
            torch.nn.init.uniform_(parameter, 0.5, 1.5)
    rotated, both = twins.rotated(model), twins.doubled(twins.rotated(model))
    ids = torch.randint(0, 256, (2, 20), generator=torch.Generator().manual_seed(0))
    turn = twins.rotation(models.WIDTH, 0).float()
    with torch.no_grad():
        own, other, twice = (one(ids, output_hidden_states=True) for one in (model, rotated, both))
    assert own.logits.abs().max() > 1
    assert torch.allclose(own.logits, other.logits, atol=1e-4)
    assert torch.allclose(own.logits, twice.logits, atol=1e-4)
    for block in range(models.DEPTH):  # behind the last, a family's states are taken behind the final norm
        assert torch.allclose(own.hidden_states[block] @ turn, other.hidden_states[block], atol=1e-4)
        assert torch.allclose(other.hidden_states[block], twice.hidden_states[2 * block], atol=1e-4)
        assert not torch.allclose(own.hidden_states[block], other.hidden_states[block], atol=0.1)
