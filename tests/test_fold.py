"""Steering folded into weights, against the oracle: per family, through files, and what no bias can do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

import lm_eval_steer
from conftest import make_transferred, make_vector
from gguf_files import write_gguf
from lm_eval_steer.cli.main import main
from lm_eval_steer.engines.reference import Reference
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.folding import proof
from lm_eval_steer.folding.shifts import constant_shifts
from lm_eval_steer.interventions.intervention import Edit, intervene
from models import COMMON, make_model, save_model
from steerings import steering

PROMPT = [5, 6, 7, 8, 9, 10, 11]
ALPHA = 3.0


def oracle(model: Any, alpha: float = ALPHA) -> torch.Tensor:
    edits = [Edit(block, "add", v, alpha) for block, v in enumerate(make_vector().directions)]
    return Reference(model, intervene(edits)).logits(PROMPT, len(PROMPT))


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(torch.tensor([PROMPT])).logits[0].float()


def made(family: str, **changes: Any) -> Any:
    """A tiny model whose biases, where it has some, are not zero."""
    model = make_model(family, **changes)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.1)
    return model


@pytest.mark.parametrize(
    ("family", "adapter", "kind"),
    [
        ("llama", False, "LlamaForCausalLM"),
        ("qwen2", False, "LlamaForCausalLM"),
        ("gpt2", False, "GPT2LMHeadModel"),
        ("gpt_neox", False, "GPTNeoXForCausalLM"),
        ("gpt_neo", False, "GPTNeoForCausalLM"),
        ("falcon", False, "FalconForCausalLM"),
        ("mamba", False, "MambaForCausalLM"),
        ("qwen3", True, "Qwen3ForCausalLM"),
        ("phi3", True, "Phi3ForCausalLM"),
        ("mistral", True, "MistralForCausalLM"),
        ("gpt2", True, "GPT2LMHeadModel"),
    ],
)
def test_a_folded_model_is_the_steered_one_also_out_of_its_files(
    family: str, adapter: bool, kind: str, tmp_path: Path
) -> None:
    model = made(family)
    plain, expected = logits(model), oracle(model)
    assert not torch.allclose(plain, expected, atol=0.1)
    folded = lm_eval_steer.fold(model, make_vector(), adapter=adapter, alpha=ALPHA)
    torch.testing.assert_close(logits(folded), expected, atol=1e-4, rtol=0)
    assert torch.equal(logits(model), plain)
    folded.save_pretrained(tmp_path)
    if adapter:
        from peft import PeftModel

        again = PeftModel.from_pretrained(made(family), str(tmp_path))
        assert type(again.get_base_model()).__name__ == kind
    else:
        again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
        assert type(again).__name__ == kind
        shared = {one.data_ptr() for one in model.parameters()}
        assert (
            sum(one.data_ptr() in shared for one in folded.parameters()) >= len(shared) - model.config.num_hidden_layers
        )
    torch.testing.assert_close(logits(again), expected, atol=1e-4, rtol=0)


def test_a_mistral_that_sees_the_whole_text_becomes_a_llama_and_generates_what_the_oracle_does() -> None:
    model = made("mistral", sliding_window=None)
    folded = lm_eval_steer.fold(model, make_vector(), alpha=ALPHA)
    assert folded.config.model_type == "llama"
    text = folded.generate(torch.tensor([PROMPT]), max_new_tokens=6, min_new_tokens=6, do_sample=False)[
        0, len(PROMPT) :
    ]
    edits = [Edit(block, "add", v, ALPHA) for block, v in enumerate(make_vector().directions)]
    assert Reference(model, intervene(edits)).generate(PROMPT, 6).agrees(text.tolist())


def test_a_block_that_multiplies_what_it_adds_gets_a_bias_that_is_as_much_smaller() -> None:
    small = {"intermediate_size": 48, "num_key_value_heads": 2, "residual_multiplier": 0.25}
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(transformers.GraniteConfig(**COMMON | small)).eval()
    folded = lm_eval_steer.fold(model, make_vector(), alpha=ALPHA)
    torch.testing.assert_close(logits(folded), oracle(model), atol=1e-4, rtol=0)
    bias = folded.model.layers[1].mlp.down_proj.bias
    np.testing.assert_allclose(bias.numpy(), 4 * ALPHA * make_vector().directions[1], rtol=1e-4)


def test_arguments_mean_what_they_mean_in_a_run() -> None:
    model, vector = made("llama"), make_vector()
    folded = lm_eval_steer.fold(model, vector, alpha=2, layers="1-2", alpha_per_layer=[1, 1, 0.5], control="negated")
    biases = [layer.mlp.down_proj.bias for layer in folded.model.layers]
    assert not biases[0].any()
    np.testing.assert_allclose(biases[1].numpy(), -2 * vector.directions[1], rtol=1e-6)
    np.testing.assert_allclose(biases[2].numpy(), -1 * vector.directions[2], rtol=1e-6)
    with pytest.raises(TypeError, match=r"fold takes no dose: use alpha, "):
        lm_eval_steer.fold(model, vector, dose=0.1)
    with pytest.raises(SteeringError, match="fold takes one strength, and here are 2"):
        lm_eval_steer.fold(model, vector, alpha=[1, 2])
    with pytest.raises(SteeringError, match="was transferred to child"):
        lm_eval_steer.fold(model, make_transferred(), alpha=1)


@pytest.mark.parametrize(
    ("family", "adapter", "sentence"),
    [
        (
            "gemma2",
            False,
            r"in block 0 of Gemma2ForCausalLM no linear layer's output is added to the residual stream as",
        ),
        ("gemma2", True, r"in block 0 of Gemma2ForCausalLM no linear layer"),
        ("mixtral", False, r"in block 0 of MixtralForCausalLM no linear layer"),
        ("mistral", False, r"MistralForCausalLM has no bias in model.layers.0.mlp.down_proj, .*\(--adapter\)"),
        ("qwen3", False, r"Qwen3ForCausalLM has no bias in model.layers.0.mlp.down_proj"),
        ("mamba", True, r"PEFT takes no adapter in backbone.layers.0.mixer.out_proj of MambaForCausalLM"),
        ("bart", False, r"in block 0 of BartForConditionalGeneration no linear layer"),
    ],
)
def test_a_family_that_no_bias_steers_is_told_in_a_sentence(family: str, adapter: bool, sentence: str) -> None:
    model = made(family)
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    with pytest.raises(SteeringError, match=sentence):
        lm_eval_steer.fold(model, make_vector(), adapter=adapter, alpha=ALPHA)
    assert all(torch.equal(parameter, before[name]) for name, parameter in model.named_parameters())


@pytest.mark.parametrize(
    ("intervention", "sentence"),
    [
        (intervene(), "a strength of 0 leaves the child as it is"),
        (steering(make_vector().directions, 1.0, tokens="last"), "a bias acts at every position, and tokens=last does"),
        (steering(make_vector().directions, 0.1, unit="dose"), "a strength in the unit dose has not: give alpha"),
        (steering(make_vector().directions, 1.0, "add_keep_norm"), "operator=add_keep_norm does something else"),
    ],
)
def test_what_depends_on_position_or_state_is_no_bias(intervention: Any, sentence: str) -> None:
    with pytest.raises(SteeringError, match=sentence):
        constant_shifts(intervention)


def test_a_small_shift_beside_a_large_bias_of_half_precision_is_refused() -> None:
    model = made("gpt2").to(torch.bfloat16)
    with torch.no_grad():
        model.transformer.h[1].mlp.c_proj.bias.fill_(100)
    with pytest.raises(SteeringError, match=r"bfloat16 loses \d+\.\d% of the shift of block 1 beside the bias"):
        lm_eval_steer.fold(model, make_vector(), alpha=0.5)
    folded = lm_eval_steer.fold(made("llama").to(torch.bfloat16), make_vector(), alpha=0.5)
    kept = folded.model.layers[1].mlp.down_proj.bias
    assert kept.dtype == torch.bfloat16
    assert torch.equal(kept, torch.from_numpy(0.5 * make_vector().directions[1]).to(torch.bfloat16))


def fold_command(folder: Path, out: Path, *more: str) -> int:
    make_vector().save(folder / "v.safetensors")
    words = [str(folder / "v.safetensors"), "--child", str(folder), "--alpha", "3", "--out", str(out), *more]
    return main(["vectors", "fold", *words])


def test_the_command_writes_a_checkpoint_that_needs_nothing_of_ours(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    child = save_model(tmp_path / "child", "llama", dtype="bfloat16")
    model = transformers.AutoModelForCausalLM.from_pretrained(child, dtype="float32")
    assert fold_command(child, tmp_path / "out") == 0
    told = capsys.readouterr().out
    assert "(LlamaForCausalLM): 3 biases" in told
    assert f"lm_eval --model hf --model_args pretrained={tmp_path / 'out'} --tasks" in told
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype="float32")
    shifts = [torch.from_numpy(np.float32(ALPHA) * v).to(torch.bfloat16).float() for v in make_vector().directions]
    edits = [Edit(block, "add", shift.numpy(), 1.0) for block, shift in enumerate(shifts)]  # as bfloat16 holds them
    expected = Reference(model, intervene(edits)).logits(PROMPT, len(PROMPT))
    torch.testing.assert_close(logits(again), expected, atol=1e-4, rtol=0)
    assert transformers.AutoTokenizer.from_pretrained(tmp_path / "out")("ab")["input_ids"]
    card = json.loads((tmp_path / "out" / "steering.json").read_text())
    assert card["steering"] == {"alpha": 3.0}
    assert card["vector"]["fingerprint"] == make_vector().fingerprint
    assert card["child"]["name"] == "child"
    assert fold_command(child, tmp_path / "out") == 2
    assert "out exists and is not empty: name an empty or a new folder" in capsys.readouterr().err


def test_the_command_writes_an_adapter(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from peft import PeftModel

    child = save_model(tmp_path / "child", "qwen3")
    assert fold_command(child, tmp_path / "out", "--adapter", "--steering", "layers=1") == 0
    told = capsys.readouterr().out
    assert f"--model_args pretrained={child},peft={tmp_path / 'out'} --tasks" in told
    model = transformers.AutoModelForCausalLM.from_pretrained(child)
    edits = [Edit(1, "add", make_vector().directions[1], ALPHA)]
    expected = Reference(model, intervene(edits)).logits(PROMPT, len(PROMPT))
    again = PeftModel.from_pretrained(model, str(tmp_path / "out"))
    torch.testing.assert_close(logits(again), expected, atol=1e-4, rtol=0)


def test_a_fold_that_is_not_proven_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    child = save_model(tmp_path / "child", "llama")
    monkeypatch.setattr(proof, "TOLERANCE", -1.0)
    assert fold_command(child, tmp_path / "out") == 2
    assert "the folded model's log-likelihood of a token differs by" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["child"]
    assert fold_command(child, tmp_path / "out", "--steering", "tokens=last") == 2
    assert "a fold takes no tokens: use alpha, " in capsys.readouterr().err


def test_the_proof_sees_weights_that_are_not_those_that_were_written() -> None:
    model = made("llama")
    folded = lm_eval_steer.fold(model, make_vector(), alpha=ALPHA)
    edits = [Edit(block, "add", v, ALPHA) for block, v in enumerate(make_vector().directions)]
    expected = proof.log_likelihoods(model, intervene(edits))
    assert proof.prove(folded, folded, expected) < 1e-4
    with pytest.raises(SteeringError, match=r"does not read model.layers.0.mlp.[a-z]+_proj.bias as it was written"):
        proof.prove(folded, model, expected)
    with pytest.raises(SteeringError, match=r"log-likelihood of a token differs by"):
        proof.prove(folded, folded, proof.log_likelihoods(model))


def test_a_gguf_child_gets_a_control_vector_beside_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from gguf import GGUFReader

    child = write_gguf(make_model("llama"), tmp_path / "m.gguf")
    weights = child.read_bytes()
    make_vector().save(tmp_path / "v.safetensors")
    words = ["vectors", "fold", str(tmp_path / "v.safetensors"), "--child", str(child), "--alpha", "3"]
    halves = [*words, "--steering", "layers=1-2,alpha_per_layer=[1,1,0.5]"]
    assert main([*halves, "--out", str(tmp_path / "out")]) == 0
    path = tmp_path / "out" / "control.gguf"
    told = capsys.readouterr().out
    assert f"llama-cli -m {child} --control-vector-scaled {path}:1.0" in told
    assert f"pretrained={child},vectors={tmp_path / 'v.safetensors'},layers=1-2," in told
    added = {tensor.name: np.array(tensor.data) for tensor in GGUFReader(path).tensors}
    assert sorted(added) == ["direction.1", "direction.2"]
    np.testing.assert_allclose(added["direction.1"], 3 * make_vector().directions[1], rtol=1e-6)
    np.testing.assert_allclose(added["direction.2"], 1.5 * make_vector().directions[2], rtol=1e-6)
    assert child.read_bytes() == weights
    card = json.loads((tmp_path / "out" / "steering.json").read_text())
    assert (card["kind"], card["child"]["name"]) == ("control vector of llama.cpp", "m.gguf")
    (tmp_path / "cut.gguf").write_bytes(weights[:300])
    for more, sentence in {
        (): "llama.cpp steers no block 0: leave it out with layers=1-2",
        ("--steering", "layers=1,operator=ablate"): "llama.cpp adds vectors and cannot ablate",
        ("--steering", "blocks=model.layers"): "blocks=model.layers names no place in a GGUF file",
        ("--alpha", "0"): "a strength of 0 leaves the child as it is",
        ("--adapter",): "m.gguf is a GGUF file, whose weights stay as they are: leave out --adapter",
        ("--dtype", "float32"): "leave out --dtype float32",
        ("--child", str(tmp_path / "cut.gguf")): "cut.gguf is no model in GGUF, or its header is damaged",
        ("--child", str(path)): "control.gguf is no model in GGUF",
        ("--child", "none.gguf"): "there is no file none.gguf: name a model in GGUF with --child",
    }.items():
        assert main([*words, *more, "--out", str(tmp_path / "other")]) == 2, sentence
        assert sentence in capsys.readouterr().err
        assert not (tmp_path / "other").exists()
