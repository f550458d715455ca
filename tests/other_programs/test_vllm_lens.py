"""vllm-lens on vLLM gives the log-probabilities of the oracle for a file that was exported to it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from vllm import LLM, SamplingParams
from vllm_lens import SteeringVector

from conftest import make_vector
from lm_eval_steer.engines.reference import Reference
from lm_eval_steer.vectors.exports import EXPORTS, Export, write_export
from models import make_model, save_model
from steerings import steering

os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", str(min(os.sched_getaffinity(0))))
torch.set_num_threads(1)
SHAPE = {"hidden_size": 64, "num_attention_heads": 2}  # heads as wide as vLLM's kernels for the CPU want them
OWN: dict[str, dict[str, Any]] = {"llama": {}, "gemma2": {"num_key_value_heads": 1, "head_dim": 32}}
PROMPT, NEW = [5, 6, 7, 8, 9, 10], 4
ALPHA = 3.0


@pytest.mark.parametrize("family", OWN)
def test_a_request_is_steered_as_here_beside_one_that_is_not(family: str, tmp_path: Path) -> None:
    """As an object, as the JSON of a client, with its strength inside, at some blocks and at one."""
    shape, vector = SHAPE | OWN[family], make_vector(width=64)
    directions, asked = vector.directions, []
    for blocks in ([1, 2], [0]):
        path = tmp_path / f"{blocks[0]}.json"
        text = write_export(Export(vector, ALPHA, tuple(blocks)), EXPORTS["vllm-lens"], path).read_text()
        for sent in ([SteeringVector.model_validate_json(text)], json.dumps([json.loads(text)])):
            asked.append((blocks, {"apply_steering_vectors": sent}))
    asked.append(([], {}))
    folder = save_model(tmp_path / "model", family, **shape)
    llm = LLM(str(folder), dtype="float32", max_model_len=64, gpu_memory_utilization=0.2)
    told = [
        SamplingParams(temperature=0, max_tokens=NEW, logprobs=1, ignore_eos=True, extra_args=extra)
        for _, extra in asked
    ]
    found = [one.outputs[0] for one in llm.generate([{"prompt_token_ids": PROMPT}] * len(told), told)]
    sums = []
    for (blocks, _), out in zip(asked, found, strict=True):
        model = Reference(make_model(family, **shape), steering({block: directions[block] for block in blocks}, ALPHA))
        text = [*PROMPT, *out.token_ids]
        expected = model.logits(text, len(text)).log_softmax(-1)[len(PROMPT) - 1 : -1]
        chosen = [float(row[token]) for row, token in zip(expected, out.token_ids, strict=True)]
        given = [one[token].logprob for one, token in zip(out.logprobs, out.token_ids, strict=True)]
        assert given == pytest.approx(chosen, abs=1e-3)
        assert model.generate(PROMPT, NEW).agrees(list(out.token_ids))
        sums.append(round(sum(given), 3))
    assert sums[0] == sums[1] != sums[2] == sums[3] != sums[4]
