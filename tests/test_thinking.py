"""`enable_thinking` reaches the chat template wherever a model is asked: in a run, in a sweep, and of a parent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lm_eval import simple_evaluate

import models
import sweeps
from conftest import make_vector
from lm_eval_steer.extraction.args import ExtractionArgs
from lm_eval_steer.extraction.extract import load_parent
from lm_eval_steer.extraction.source import load_source, make_pairs

END = "</think>"
TEMPLATE = (  # as that of Qwen3, which closes the thought itself where none is wanted
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
CLOSED = "<|im_start|>assistant\n<think>\n\n</think>\n\n"
OPEN = "<|im_start|>assistant\n"


@pytest.mark.parametrize(
    ("given", "end"),
    [
        ({"enable_thinking": False}, CLOSED),
        ({"enable_thinking": True, "think_end_token": END}, OPEN),
        ({}, OPEN),
    ],
)
def test_prompts_are_those_of_hf(
    given: dict[str, Any], end: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweeps.hurry(monkeypatch)
    model = str(models.save_model(tmp_path / "m", "llama", chat_template=TEMPLATE))
    args = {"pretrained": model, "max_length": 4096, **given}
    asked: dict[str, Any] = {"limit": 2.0, "apply_chat_template": True, "gen_kwargs": {"max_gen_toks": 2}}
    plain: Any = simple_evaluate(
        model="hf", model_args=args, tasks=["parity_steer"], task_manager=sweeps.manager(), fewshot_as_multiturn=True,
        device="cpu", bootstrap_iters=0, **asked,
    )  # fmt: skip
    vector = make_vector().save(tmp_path / "v.pt")
    sweeps.sweep(args | {"vectors": str(vector)}, tmp_path / "s", alpha=[1.0], val_limit=2.0, **asked)
    expected = {one["doc_id"]: (one["arguments"][0][0], one["resps"]) for one in plain["samples"]["parity_steer"]}
    assert all(prompt.endswith(end) for prompt, _ in expected.values())
    for arm in ("baseline", "best"):
        found = {one["doc_id"]: one for one in sweeps.samples(tmp_path / "s", arm)}
        prompts = {number: one["arguments"]["gen_args_0"]["arg_0"] for number, one in found.items()}
        assert prompts == {number: prompt for number, (prompt, _) in expected.items()}
    baseline = {one["doc_id"]: one["resps"] for one in sweeps.samples(tmp_path / "s", "baseline")}
    assert baseline == {number: responses for number, (_, responses) in expected.items()}


@pytest.mark.parametrize(("given", "end"), [({"enable_thinking": False}, CLOSED), ({}, OPEN)])
def test_a_parent_is_asked_behind_the_template_that_it_was_given(
    given: dict[str, Any], end: str, tmp_path: Path
) -> None:
    model = models.save_model(tmp_path / "m", "llama", chat_template=TEMPLATE)
    parent = load_parent({"pretrained": str(model), **given}, "cpu")
    args = ExtractionArgs(task="arith_steer", n=2, apply_chat_template=True, contrast="target")
    pairs, _ = make_pairs(args, load_source(args), parent)
    assert all(pair.negative.endswith(end) and pair.positive.startswith(pair.negative) for pair in pairs)
