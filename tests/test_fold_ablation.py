"""Ablation folded into weights, against the oracle: per family, through files, and where no weight does it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

import lm_eval_steer
from conftest import make_vector
from lm_eval_steer.cli.main import main
from lm_eval_steer.engines.reference import Reference
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.folding.ablation import ablations
from lm_eval_steer.interventions.intervention import Edit, Intervention, intervene
from lm_eval_steer.vectors.vector import SteeringVector
from models import DEPTH, save_model
from test_fold import PROMPT, logits, made

ARDITI = {"operator": "ablate", "site": "block_input+attention+mlp"}


def one_direction() -> SteeringVector:
    """The same direction for all blocks."""
    one = make_vector()
    return SteeringVector(np.repeat(one.directions[1:2], DEPTH, axis=0), one.layers, one.passport)


def edits(vector: SteeringVector, strength: float = 1.0, sites: str = ARDITI["site"]) -> list[Edit]:
    return [
        Edit(block, "ablate", row, strength, site)
        for site in sites.split("+")
        for block, row in enumerate(vector.directions)
    ]


def oracle(model: Any, what: Intervention) -> torch.Tensor:
    return Reference(model, what).logits(PROMPT, len(PROMPT))


FAMILIES = ["llama", "qwen2", "qwen3", "gpt2", "gpt_neox", "gpt_neo", "falcon", "phi3", "mistral", "granite", "opt"]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_of_orthogonalised_weights_is_the_ablated_one_also_out_of_its_files(
    family: str, tmp_path: Path
) -> None:
    model = made(family)
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    expected = oracle(model, intervene(edits(one_direction())))
    assert float((expected - logits(model)).abs().max()) > 0.05
    folded = lm_eval_steer.fold(model, one_direction(), alpha=1, **ARDITI)
    torch.testing.assert_close(logits(folded), expected, atol=1e-4, rtol=0)
    folded.save_pretrained(tmp_path)
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    assert type(again) is type(model)
    torch.testing.assert_close(logits(again), expected, atol=1e-4, rtol=0)
    assert all(torch.equal(parameter, before[name]) for name, parameter in model.named_parameters())
    stream = again.model if hasattr(again, "model") else again.transformer if hasattr(again, "transformer") else again
    with torch.no_grad():
        states = stream(torch.tensor([PROMPT]), output_hidden_states=True).hidden_states[:-1] if family != "opt" else []
    v = torch.from_numpy(one_direction().directions[0])
    for state in states:  # the last is behind the norm
        assert float((state @ v).abs().max()) < 1e-4 * float(state.abs().max())


def test_each_writer_may_have_a_direction_and_a_strength_of_its_own() -> None:
    """A part of what attention writes; what stays in the stream then is no concern of any weight."""
    model, vector = made("llama"), make_vector()
    folded = lm_eval_steer.fold(model, vector, alpha=0.5, operator="ablate", site="attention", layers=[0, 2])
    kept = [one for one in edits(vector, 0.5, "attention") if one.block != 1]
    torch.testing.assert_close(logits(folded), oracle(model, intervene(kept)), atol=1e-4, rtol=0)
    assert folded.model.embed_tokens.weight is model.model.embed_tokens.weight
    assert folded.model.layers[1].self_attn.o_proj.weight is model.model.layers[1].self_attn.o_proj.weight


def test_a_head_that_shares_the_embeddings_keeps_its_own_weights(tmp_path: Path) -> None:
    model = made("qwen2", tie_word_embeddings=True)
    expected = oracle(model, intervene(edits(one_direction())))
    lm_eval_steer.fold(model, one_direction(), alpha=1, **ARDITI).save_pretrained(tmp_path)
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    assert not again.config.tie_word_embeddings
    assert model.config.tie_word_embeddings
    torch.testing.assert_close(logits(again), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("what", "sentence"),
    [
        (
            edits(make_vector()),
            r"\(block_input of block 1\), and an ablation of block_input of block 0, which writes to",
        ),
        (edits(one_direction(), 1.0, "block"), r"itself \(block 0\), and an ablation of block_input of block 0, which"),
        (
            edits(one_direction(), 1.0, "block_input+mlp"),
            r"an ablation of attention of block 0, which .* not asked for",
        ),
        (edits(one_direction(), 0.5), r"which writes to it, is of another direction, or not of all of it: ablate one"),
        (
            [Edit(0, "ablate", make_vector().directions[0], 1.0, "final_norm")],
            r"in no weight that writes to the stream",
        ),
        (
            [*edits(one_direction()), Edit(0, "add", make_vector().directions[0], 1.0)],
            r"weights ablate, and operator=add",
        ),
    ],
)
def test_what_no_weight_ablates_is_told_in_a_sentence(what: list[Edit], sentence: str) -> None:
    with pytest.raises(SteeringError, match=sentence):
        ablations(intervene(what))


def test_an_ablation_of_the_stream_that_finds_nothing_left_is_in_the_weights() -> None:
    """Outputs of blocks, too, where all that writes to them lost the direction already."""
    model, sites = made("llama"), f"{ARDITI['site']}+block"
    folded = lm_eval_steer.fold(model, one_direction(), alpha=1, operator="ablate", site=sites)
    expected = oracle(model, intervene(edits(one_direction(), 1.0, sites)))
    torch.testing.assert_close(logits(folded), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("family", "sentence"),
    [
        (
            "gemma2",
            r"no matrix writes to the residual stream as attention of block 0 \(a norm or experts come between\)",
        ),
        ("mixtral", r"no matrix writes to the residual stream as mlp of block 0 \(a norm or experts come between\)"),
    ],
)
def test_a_family_whose_writers_are_no_matrices_is_told_in_a_sentence(family: str, sentence: str) -> None:
    with pytest.raises(SteeringError, match=sentence):
        lm_eval_steer.fold(made(family), one_direction(), alpha=1, **ARDITI)


def test_embeddings_behind_a_norm_are_refused() -> None:
    model = made("llama")
    embed = model.model.embed_tokens
    model.model.embed_tokens.register_forward_hook(
        lambda _m, _a, out: torch.nn.functional.layer_norm(out, out.shape[-1:])
    )
    assert embed.weight.ndim == 2
    with pytest.raises(
        SteeringError, match=r"between the embeddings of LlamaForCausalLM and its first block stands more"
    ):
        lm_eval_steer.fold(model, one_direction(), alpha=1, operator="ablate", site="block_input", layers=[0])


def test_the_command_writes_a_checkpoint_and_half_precision_says_what_it_leaves(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    child = save_model(tmp_path / "child", "llama", dtype="bfloat16")
    one_direction().save(tmp_path / "v.safetensors")
    words = ["vectors", "fold", str(tmp_path / "v.safetensors"), "--child", str(child), "--alpha", "1"]
    words += ["--steering", ",".join(f"{name}={value}" for name, value in ARDITI.items())]
    assert main([*words, "--out", str(tmp_path / "half")]) == 0
    assert (
        "(LlamaForCausalLM): 7 orthogonalised matrices, of whose effect bfloat16 rounds off" in capsys.readouterr().out
    )
    assert main([*words, "--dtype", "float32", "--out", str(tmp_path / "whole")]) == 0
    assert "7 orthogonalised matrices. Read again" in capsys.readouterr().out
    model = transformers.AutoModelForCausalLM.from_pretrained(child, dtype="float32")
    expected = oracle(model, intervene(edits(one_direction())))
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "whole")
    torch.testing.assert_close(logits(again), expected, atol=1e-4, rtol=0)
    assert json.loads((tmp_path / "whole" / "steering.json").read_text())["steering"] == {"alpha": 1.0, **ARDITI}
    assert main([*words, "--adapter", "--out", str(tmp_path / "adapter")]) == 2
    assert "an adapter of biases ablates nothing" in capsys.readouterr().err


def test_the_papers_preset_folds() -> None:
    model, vector = made("llama"), make_vector()
    folded = lm_eval_steer.fold(model, vector, preset="arditi", layer_map="only:1")
    torch.testing.assert_close(logits(folded), oracle(model, intervene(edits(one_direction()))), atol=1e-4, rtol=0)
