"""Quantised children and parents: each text as it is alone, whatever takes the place of weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from lm_eval.models.hf_steered import SteeredModel
from lm_eval.models.huggingface import HFLM
from torch import Tensor, nn

import models
from conftest import make_vector
from lm_eval_steer.engines.hf.blocks import find_blocks
from lm_eval_steer.extraction.capture import capture_pairs
from lm_eval_steer.models.hf import SteeredHF
from test_embedded import write_gguf
from test_hf import SHARED, export_for_harness, generations, scorings

WIDTH = 64  # bitsandbytes packs 64 numbers of 4 bits
CONTEXTS = [SHARED + text for text in ("Q: What is 2 + 3?\nA:", "ab", "The sun rises")]


def bitsandbytes(**bits: Any) -> Any:
    return transformers.BitsAndBytesConfig(**bits)


def torchao() -> Any:
    from torchao.quantization import Int8WeightOnlyConfig

    return transformers.TorchAoConfig(Int8WeightOnlyConfig())


KINDS: dict[str, Callable[[], Any]] = {
    "bitsandbytes, 8 bits": lambda: bitsandbytes(load_in_8bit=True),
    "bitsandbytes, 4 bits": lambda: bitsandbytes(load_in_4bit=True, bnb_4bit_quant_type="nf4"),
    "torchao": torchao,
}


class Packed(nn.Module):
    """A linear layer as GPTQ and AWQ have it: integers of 4 bits, eight in one, and scales; no parameter."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        scales = linear.weight.detach().abs().amax(dim=1, keepdim=True) / 7
        fours = (linear.weight.detach() / scales).round().int() + 8  # [out, in]
        shifts = torch.arange(8) * 4
        self.register_buffer("qweight", (fours.unflatten(1, (-1, 8)) << shifts).sum(dim=2).int())
        self.register_buffer("scales", scales)

    def forward(self, hidden: Tensor) -> Tensor:
        fours = (self.qweight[..., None] >> torch.arange(8) * 4) & 15
        return hidden @ ((fours.flatten(1) - 8) * self.scales).T


class OneScale(nn.Module):
    """A linear layer whose activations are quantised by one scale, the largest number of the pass."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.linear = linear

    def forward(self, hidden: Tensor) -> Tensor:
        scale = hidden.abs().max() / 7
        return self.linear((hidden / scale).round() * scale)


def replace(model: nn.Module, kind: Callable[[nn.Linear], nn.Module]) -> None:
    for block in find_blocks(model):
        for parent in list(block.modules()):
            for name, child in list(parent.named_children()):
                if isinstance(child, nn.Linear):
                    setattr(parent, name, kind(child))


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    plain = models.save_model(tmp_path_factory.mktemp("plain"), "llama", hidden_size=WIDTH, intermediate_size=WIDTH)

    def store(kind: str) -> Path:
        folder = tmp_path_factory.mktemp("stored")
        config = KINDS[kind]()
        model = transformers.AutoModelForCausalLM.from_pretrained(plain, quantization_config=config, device_map="cpu")
        model.save_pretrained(folder)
        models.make_tokenizer().save_pretrained(folder)
        return folder

    return store


def check_child(lm: SteeredHF, hf: SteeredModel) -> None:
    """A padded batch behind a shared beginning against one row at a time."""
    requests = generations(CONTEXTS, max_gen_toks=6)
    texts = lm.generate_until(requests)
    assert texts == hf.generate_until(requests)
    choices = scorings(CONTEXTS[:1])
    for ours, theirs in zip(lm.loglikelihood(choices), hf.loglikelihood(choices), strict=True):
        assert ours[0] == pytest.approx(theirs[0], abs=1e-3)
        assert ours[1] == theirs[1]


def check_parent(lm: HFLM) -> None:
    """What is read in batches against one text at a time."""
    pairs = [(lm.tok_encode(text), lm.tok_encode(text[:-1] + "!")) for text in CONTEXTS]
    blocks = dict(enumerate(find_blocks(lm.model)))
    found = capture_pairs(lm.model, blocks, pairs, 4, lm.device).differences
    for pair, (positive, negative) in zip(found, pairs, strict=True):
        one, other = (read(lm.model, tokens) for tokens in (positive, negative))
        assert torch.allclose(torch.from_numpy(pair[:-1]), (one - other)[:-1], atol=1e-3)  # the last is before its norm


@torch.no_grad()
def read(model: Any, tokens: list[int]) -> Tensor:
    """Block outputs [blocks, hidden] at the last token of one text."""
    states = model(input_ids=torch.tensor([tokens]), output_hidden_states=True).hidden_states[1:]
    return torch.stack([state[0, -1].float() for state in states])


@pytest.mark.parametrize("kind", KINDS)
def test_stored_checkpoints(kind: str, stored: Callable[[str], Path], tmp_path: Path) -> None:
    arguments = {"pretrained": str(stored(kind)), "device": "cpu"}
    lm = SteeredHF(**arguments, batch_size=4, vectors=make_vector(width=WIDTH), alpha=1.5)
    path = export_for_harness(lm, tmp_path / "steered.pt")
    check_child(lm, SteeredModel(**arguments, batch_size=1, steer_path=path))
    check_parent(lm)


@pytest.mark.parametrize("kind", [Packed, OneScale])
def test_layers_of_other_kinds(kind: Any, tmp_path: Path) -> None:
    """On a model whose norms have no weights either."""
    torch.manual_seed(0)
    config = transformers.OlmoConfig(**models.COMMON, intermediate_size=48, num_key_value_heads=2)
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.25)
    replace(model, kind)
    common = {"pretrained": model, "tokenizer": models.make_tokenizer()}
    lm = SteeredHF(**common, batch_size=4, vectors=make_vector(), alpha=1.5)
    path = export_for_harness(lm, tmp_path / "steered.pt")
    check_child(lm, SteeredModel(**common, batch_size=1, steer_path=path))
    check_parent(lm)


def test_gguf(tmp_path: Path) -> None:
    write_gguf(tmp_path / "tiny.gguf")
    arguments = {"pretrained": str(tmp_path), "gguf_file": "tiny.gguf", "device": "cpu"}
    lm = SteeredHF(**arguments, batch_size=4, vectors=make_vector(blocks=2), alpha=1.5)
    path = export_for_harness(lm, tmp_path / "steered.pt")
    check_child(lm, SteeredModel(**arguments, batch_size=1, steer_path=path))
    check_parent(lm)
