"""Where texts end: as under `hf` with one row at a time, special tokens among the stop strings or not."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import transformers
from lm_eval.models.hf_steered import SteeredModel

import models
from conftest import make_vector
from lm_eval_steer.engines.hf.stops import Stops
from lm_eval_steer.models.hf import SteeredHF
from test_hf import CONTEXTS, SHARED, export_for_harness, generations

ENDS, TOOL = ["<|im_end|>", "<|eot|>"], "<tool>"


def make_tokenizer() -> transformers.PreTrainedTokenizerFast:
    """With two special tokens, which no response shows, and another one that was added."""
    tokenizer = models.make_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ENDS})
    tokenizer.add_tokens([TOOL])
    return tokenizer


STOPS = [["\n\n"], [""], ENDS[:1], [ENDS[1] + "x", TOOL + ENDS[0] + "f"], [TOOL], ENDS]


def make_model(family: str) -> transformers.PreTrainedModel:
    """One that likes those tokens."""
    model = models.make_model(family, vocab_size=262)
    with torch.no_grad():
        model.get_output_embeddings().weight[259:] *= 2.5
    return model


@pytest.mark.parametrize(("family", "stops"), [("llama", STOPS), ("lfm2", STOPS[:3])])  # the second by transformers
def test_special_tokens_are_stop_strings(family: str, stops: list[list[str]], tmp_path: Path) -> None:
    common = {"tokenizer": make_tokenizer()}
    lm = SteeredHF(pretrained=make_model(family), batch_size=4, vectors=make_vector(), alpha=1.5, **common)
    path = export_for_harness(lm, tmp_path / "steered.pt")
    hf = SteeredModel(pretrained=make_model(family), batch_size=1, steer_path=path, **common)
    contexts = [SHARED + text for text in CONTEXTS[:3]]
    found = []
    for until in stops:
        requests = generations(contexts, until=until)
        found.append(lm.generate_until(requests))
        assert found[-1] == hf.generate_until(requests)
    assert len(set(map(tuple, found))) == len(found)


def test_strings_of_one_length_share_a_decoding() -> None:
    tokenizer = make_tokenizer()
    lengths: list[int] = []
    told = SimpleNamespace(
        encode=tokenizer.encode,
        decode=lambda tokens, **more: lengths.append(len(tokens)) or tokenizer.decode(tokens, **more),
    )
    stops = Stops(told, ["ab", "xyz", "cd", TOOL], None)
    written = tokenizer.encode("some text that ends in xy")
    assert not stops([], written)
    assert sorted(lengths) == [3, 4, 5]
    assert stops([], [*written, *tokenizer.encode("z")])
    assert stops([], [*written, *tokenizer.encode("abc")])
    assert not stops([], [*tokenizer.encode("ab"), *written])
