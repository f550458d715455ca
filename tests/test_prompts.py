"""Whole prompts against golden files: as plain text, and through chat templates of four families."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lm_eval.models.huggingface import HFLM

import models
import templates
from conftest import make_vector
from data import GOLDEN, provided
from lm_eval_steer.extraction.pairs import load_task
from lm_eval_steer.models.hf import SteeredHF

PLAIN = (
    "arc_challenge_steer",
    "arc_challenge_steer_val",
    "arc_challenge_steer_mc",
    "arc_challenge_steer_mc_val",
    "math_steer",
    "math_steer_val",
    "math500_steer",
)
CHATS = [(task, family) for task in ("gsm8k_steer", "arc_challenge_steer", "math_steer") for family in templates.ALL]


@pytest.fixture(scope="module", autouse=True)
def published(tmp_path_factory: pytest.TempPathFactory):
    with provided(tmp_path_factory.mktemp("data")) as names:
        yield names


def plain(name: str) -> str:
    task = load_task(name)
    return task.fewshot_context(task.eval_docs[0], num_fewshot=5)


def chat(name: str, lm: Any) -> str:
    task = load_task(name)
    return task.fewshot_context(
        task.eval_docs[0],
        num_fewshot=5,
        apply_chat_template=True,
        fewshot_as_multiturn=True,
        chat_template=lm.apply_chat_template,
    )


def make(cls: type, family: str, **arguments: Any) -> Any:
    return cls(
        pretrained=models.make_model("llama"), tokenizer=models.make_tokenizer(templates.ALL[family]), **arguments
    )


@pytest.mark.parametrize("name", PLAIN)
def test_plain_prompt(name: str) -> None:
    assert plain(name) == (GOLDEN / f"{name}.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize(("name", "family"), CHATS)
def test_chat_prompt(name: str, family: str) -> None:
    prompt = chat(name, make(SteeredHF, family, vectors=make_vector(), alpha=1.0))
    assert prompt == (GOLDEN / "chat" / f"{name}.{family}.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize(("name", "family"), CHATS)
def test_hf_renders_the_same_but_loses_what_gemma_refuses(name: str, family: str) -> None:
    golden = (GOLDEN / "chat" / f"{name}.{family}.txt").read_text(encoding="utf-8")
    prompt = chat(name, make(HFLM, family))
    if family != "gemma2":
        assert prompt == golden
        return
    system = load_task(name).config.description.strip()
    assert golden.startswith(f"<s><start_of_turn>user\n{system}\n\nQ: ")
    assert prompt == golden.replace(system + "\n\n", "", 1)


@pytest.mark.parametrize("name", ["gsm8k", "arc_challenge", "math"])
def test_golden_prompts_hold_the_paper_s_words_and_five_shots(name: str) -> None:
    text = (GOLDEN / f"{name}_steer.txt").read_text(encoding="utf-8")
    system, *questions = text.split("\n\nQ: ")
    assert system == load_task(f"{name}_steer").config.description.strip()
    assert len(questions) == 6
    assert all("\nA: " in question for question in questions[:5])
    assert text.endswith("\nA:")


@pytest.mark.parametrize("name", PLAIN)
def test_generation_is_greedy_limited_and_fit_for_apis(name: str) -> None:
    config = load_task(name).config
    if config.output_type == "multiple_choice":
        assert config.generation_kwargs is None
        return
    limit = 512 if name.startswith("arc") else 1024
    until = ["\nQ:", "</s>", "<|im_end|>"]  # with the tokenizer's own end of turn four, the most that APIs take
    assert config.generation_kwargs == {"do_sample": False, "until": until, "max_gen_toks": limit}
    assert config.metadata["new_token_limit"] == limit


def test_the_templates_are_all_used() -> None:
    assert {path.name for path in (Path(GOLDEN) / "chat").iterdir()} == {f"{n}.{f}.txt" for n, f in CHATS}
