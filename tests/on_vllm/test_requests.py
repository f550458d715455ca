"""What steered-vllm hands to vLLM and takes back, without an engine: arguments, texts, rows that are missing."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from test_vllm import SHAPE, plan, save, start

import models
from lm_eval_steer.engines.protocol import Done, Job
from lm_eval_steer.engines.vllm.arguments import sampling, settle_arguments
from lm_eval_steer.engines.vllm.rows import RowRunner, VllmRow
from lm_eval_steer.engines.vllm.start import auto_dtype
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.models import vllm
from lm_eval_steer.models.vllm import VLLM, SteeredVLLM


def test_arguments_of_one_text_are_taken() -> None:
    given = {"temperature": 0.5, "top_p": None, "n": 1, "num_beams": 1, "cache_implementation": "static"}
    assert settle_arguments(given) == {"temperature": 0.5}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"n": 2}, "n=2 asks for several texts"),
        ({"best_of": 3}, "best_of=3 asks for several texts"),
        ({"num_return_sequences": "2"}, "num_return_sequences=2 asks for several texts"),
        ({"num_beams": 4}, "num_beams=4 asks for several texts"),
        ({"max_time": 3}, "max_time=3 is an argument of transformers, and vLLM limits no text by time"),
        ({"stop_strings": ["x"]}, r"stop_strings=\['x'\] is an argument of transformers: give vLLM the same as until="),
        ({"extra_args": {}}, "extra_args=.* is no argument of a task"),
        ({"penalty_alpha": 0.6}, "vLLM does not know the generation argument penalty_alpha=0.6"),
    ],
)
def test_arguments_are_refused_at_the_door(given: dict[str, Any], words: str) -> None:
    with pytest.raises(SteeringError, match=words):
        settle_arguments(given)
    lm = loaded()
    with pytest.raises(SteeringError, match=words):  # also on VLLM's own path
        lm.modify_gen_kwargs({"until": []} | given)


def test_values_that_vllm_refuses_are_told_in_a_sentence() -> None:
    with pytest.raises(SteeringError, match=r"vLLM does not take one of the generation arguments .*temperature"):
        sampling(temperature=-1.0)


def loaded(**attributes: Any) -> Any:
    """A model class without an engine."""
    lm: Any = object.__new__(type("Bare", (SteeredVLLM,), {"_is_plain": property(lambda lm: lm.plan.is_plain)}))
    given = {"_penalty": 1.0, "tokenizer": models.make_tokenizer(), "plan": plan(alpha=1.0), "think_end_token": None}
    for name, value in (given | attributes).items():
        setattr(lm, name, value)
    return lm


def text_of(words: str, stop: list[str], **attributes: Any) -> str:
    lm = loaded(**attributes)
    tokens = lm.tokenizer(words, add_special_tokens=False).input_ids
    return str(lm._text(Done(Job(None, 0), tokens=tokens, text=words), stop))


def test_special_tokens_end_an_answer_and_a_thought() -> None:
    assert text_of("one<pad>", ["<pad>"]) == "one"  # where vLLM stopped
    assert text_of("a<pad>b</think>one<pad>two", ["<pad>"], think_end_token="</think>") == "ab</think>one"
    assert text_of("a</think>one", ["<pad>"], think_end_token="</think>") == "a</think>one"
    assert text_of("a<pad>b", ["<pad>"], think_end_token="</think>") == "a"
    assert text_of("a<s>b<pad>c", ["<pad>"], think_end_token="<s>") == "b"  # a special token ends the thought
    assert text_of("one<pad>", ["<pad>"], plan=plan(alpha=0)) == "one<pad>"  # VLLM's own


@pytest.mark.parametrize("came", [[], [("1", "abort")]])
def test_rows_that_do_not_come_back_end_the_run(came: list[tuple[str, str]]) -> None:
    steps = [came]
    aborted: list[str] = []
    engine = SimpleNamespace(
        has_unfinished_requests=lambda: bool(steps),
        abort_request=aborted.extend,
        step=lambda: [
            SimpleNamespace(finished=True, request_id=name, outputs=[SimpleNamespace(finish_reason=reason)])
            for name, reason in steps.pop()
        ],
    )
    llm: Any = SimpleNamespace(llm_engine=engine, enqueue=lambda *args, **kwargs: ["0-a", "1-b"])
    with pytest.raises(SteeringError, match=r"vLLM gave (back 0 of 2 rows|up a row .abort.)"):
        list(RowRunner(llm).run_plainly([VllmRow([1], 1, 0)] * 2))
    assert aborted == ["0", "1"]


def handed_over(monkeypatch: pytest.MonkeyPatch, folder: str, **arguments: Any) -> dict[str, Any]:
    """What VLLM is started with."""
    found: dict[str, Any] = {}

    def keep(self: Any, pretrained: str, **kwargs: Any) -> None:
        found.update(kwargs)
        raise InterruptedError

    monkeypatch.setattr(VLLM, "__init__", keep)
    with pytest.raises(SteeringError):
        start(folder, **arguments)
    return found


def test_prefix_caching_is_vllm_own_choice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """But for hybrid models on a CPU, whose cached states vLLM 0.32 fails at."""
    layers = {"layer_types": ["mamba", "attention", "mamba"], "mamba_n_heads": 4, "mamba_d_head": 32}
    config = models.make_config(
        "granitemoehybrid", **SHAPE, **layers, architectures=["GraniteMoeHybridForCausalLM"], dtype="bfloat16"
    )
    hybrid = str(tmp_path / "hybrid")
    config.save_pretrained(hybrid)
    usual = save(tmp_path / "usual", "llama")
    started = handed_over(monkeypatch, usual, batch_size=1)
    assert started["enable_chunked_prefill"] is False
    assert "enable_prefix_caching" not in started
    assert started["batch_size"] == 1
    assert handed_over(monkeypatch, usual, batch_size=None)["batch_size"] == "auto"
    started = handed_over(monkeypatch, hybrid)
    assert started["enable_prefix_caching"] is started["enable_chunked_prefill"] is False
    assert "enable_chunked_prefill" not in handed_over(monkeypatch, hybrid, enable_prefix_caching=True)
    monkeypatch.setattr(vllm, "ON_CPU", False)
    assert not {"enable_prefix_caching", "enable_chunked_prefill"} & handed_over(monkeypatch, hybrid).keys()


def test_models_that_vllm_cannot_read_are_told_in_a_sentence(tmp_path: Path) -> None:
    gguf = tmp_path / "model.gguf"
    gguf.write_bytes(b"GGUF")
    unknown = tmp_path / "unknown"
    unknown.mkdir()
    (unknown / "config.json").write_text(json.dumps({"model_type": "nobody", "architectures": ["Nobody"]}))
    for name, words in [
        (gguf, "vLLM 0.32 reads no GGUF files, as .* use --model steered-hf with gguf_file="),
        (unknown, "cannot be loaded: The checkpoint you are trying to load has model type `nobody`"),
        (tmp_path, "cannot be loaded: Invalid repository ID or local directory specified"),
    ]:
        with pytest.raises(SteeringError, match=words):
            auto_dtype(str(name), {})
