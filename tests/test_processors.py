"""Logits processors in a batch: of each row what transformers makes of it alone, whatever stands beside it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers.generation import LogitsProcessorList, SynthIDTextWatermarkingConfig

import models
from lm_eval_steer.engines.hf.arguments import prepare
from lm_eval_steer.engines.hf.child import Child
from lm_eval_steer.engines.hf.prefix import move_padding
from lm_eval_steer.engines.hf.processors import RowProcessors, reads_scores_only

SHARED, LIMIT = [11, 12, 13, 12], 3
PROMPTS = [[*SHARED, 21, 22, 23, 12, 13], [*SHARED, 31], [*SHARED, 21, 22, 12]]
WRITTEN = [[12, 21], [22, 12], [41, 12]]
ENDS = [5, 6, 257]


def biases(**more: Any) -> dict[str, Any]:
    return {"eos_token_id": ENDS, **more}


KINDS = {
    "repetition": {"repetition_penalty": 1.7},
    "repetition of the prompt": {"encoder_repetition_penalty": 1.7},
    "n-grams": {"no_repeat_ngram_size": 2},
    "n-grams of the prompt": {"encoder_no_repeat_ngram_size": 2},
    "least length": biases(min_length=7),
    "least new tokens": biases(min_new_tokens=2),
    "bias over the padding": {"sequence_bias": [[[12, 31, 7], 9.0], [[22, 12, 8], 9.0], [[41, 12, 9], -9.0]]},
    "bad words": {"bad_words_ids": [[12, 13], [41, 12, 9], [40]]},
    "forced end": {"forced_eos_token_id": 44},
    "decay": biases(exponential_decay_length_penalty=[1, 1.5]),
    "begin": {"begin_suppress_tokens": [1, 2, 3]},
    "watermark": {"watermarking_config": {"greenlist_ratio": 0.3, "bias": 5.0, "context_width": 2}},
    "watermark with a history": {
        "watermarking_config": SynthIDTextWatermarkingConfig(ngram_len=3, keys=[3, 9], sampling_table_size=64)
    },
    "sampling": {"do_sample": True, "temperature": 0.5, "top_k": 9, "top_p": 0.8, "suppress_tokens": [7]},
}


def text_of(row: int, new: int) -> list[int]:
    return PROMPTS[row] + WRITTEN[row][:new]


@pytest.fixture(scope="module")
def child() -> Child:
    return Child(models.make_model("llama"), models.make_tokenizer(), torch.device("cpu"), 2048)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_see_their_own_tokens_alone(child: Child, kind: str) -> None:
    """Padded behind a shared beginning; after the first step the longest row, which has no padding, is gone."""

    def alone(row: int) -> LogitsProcessorList:
        ids = torch.tensor([PROMPTS[row]])
        told = {"max_length": ids.shape[1] + LIMIT} | KINDS[kind]
        return prepare(child, ids, torch.ones_like(ids), told).processors

    width = max(map(len, PROMPTS))
    ids = torch.tensor([[258] * (width - len(prompt)) + prompt for prompt in PROMPTS])
    mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in PROMPTS])
    batch = prepare(child, ids, mask, {"max_length": width + LIMIT} | KINDS[kind]).processors
    ids, mask = move_padding(ids, mask, len(SHARED))
    process = RowProcessors(batch, alone)
    by_hand = [alone(row) for row in range(3)]
    draw = torch.Generator().manual_seed(0)
    changed = False
    for step, rows in enumerate(([0, 1, 2], [1, 2], [1, 2])):
        if step:
            new = torch.tensor([[WRITTEN[row][step - 1]] for row in rows])
            keep = slice(1 if step == 1 else 0, None)
            ids, mask = torch.cat([ids[keep], new], dim=1), torch.cat([mask[keep], torch.ones_like(new)], dim=1)
        scores = torch.randn(len(rows), 259, generator=draw) * 3
        found = process(rows, ids, mask, scores.clone())
        for row, got, before in zip(rows, found, scores, strict=True):
            wanted = by_hand[row](torch.tensor([text_of(row, step)]), before[None].clone())[0]
            assert torch.equal(got, wanted), (kind, step, row)
            changed |= not torch.equal(got, before)
    assert changed
    assert reads_scores_only(batch) is (kind == "sampling")
