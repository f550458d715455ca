"""System prompts: which templates show one, and where it goes when they do not."""

from __future__ import annotations

import copy
from typing import Any

import pytest

import models
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.models.chat import Messages, accepts_system_role, merge_system_role
from lm_eval_steer.models.hf import SteeredHF

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# Raises for a system message and for turns that do not alternate.
STRICT = (
    "{{ bos_token }}"
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Roles must alternate') }}{% endif %}"
    "{{ '<turn>' + m['role'] + '\n' + m['content'] | trim + '</turn>\n' }}{% endfor %}"
)
# Renders users and assistants and says nothing about the rest.
SILENT = (
    "{% for m in messages %}{% if m['role'] == 'user' %}{{ '[INST] ' + m['content'] + ' [/INST]' }}"
    "{% elif m['role'] == 'assistant' %}{{ ' ' + m['content'] + eos_token }}{% endif %}{% endfor %}"
)
# Merges by itself: the system message opens the first user turn.
MERGING = (
    "{% if messages[0]['role'] == 'system' %}{% set system = messages[0]['content'] + '\n\n' %}"
    "{% set messages = messages[1:] %}{% else %}{% set system = '' %}{% endif %}"
    "{% for m in messages %}{{ '<turn>' + (system if loop.first else '') + m['content'] }}{% endfor %}"
)
BROKEN = "{% for m in messages %}{{ m['content'] }}"  # not closed


def render(template: str, messages: Messages) -> str:
    text = models.make_tokenizer(chat_template=template).apply_chat_template(messages, tokenize=False)
    assert isinstance(text, str)
    return text


@pytest.mark.parametrize(
    ("template", "accepts"),
    [(CHATML, True), (MERGING, True), (STRICT, False), (SILENT, False), (BROKEN, False)],
    ids=["chatml", "merging", "strict", "silent", "broken"],
)
def test_accepts_system_role(template: str, accepts: bool) -> None:
    assert accepts_system_role(lambda messages: render(template, messages)) is accepts


def test_an_error_that_is_not_the_template_s_is_not_swallowed() -> None:
    def fail(messages: Messages) -> str:
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError):
        accepts_system_role(fail)


def test_a_tokenizer_with_named_templates_only_renders_in_the_one_that_is_named() -> None:
    """`hf` runs with such a tokenizer as long as no template is asked for."""
    messages = [SYSTEM, USER]
    templates = {"chatml": CHATML, "strict": STRICT}

    def make(**arguments: Any) -> SteeredHF:
        tokenizer = models.make_tokenizer(templates)  # type: ignore[arg-type]
        return SteeredHF(models.make_model("llama"), tokenizer=tokenizer, alpha=0, **arguments)

    lm = make()
    for ask in (lambda: lm.apply_chat_template(messages), lambda: lm.chat_template(True)):
        with pytest.raises(
            SteeringError, match=r"^the tokenizer has chat templates named chatml, strict and no default: "
        ):
            ask()
    with pytest.raises(SteeringError, match=r"^--apply_chat_template gone: .* 'gone' is not available"):
        lm.chat_template("gone")
    assert lm.chat_template("strict") == STRICT
    assert lm.tokenizer_name.endswith("__system_merged")
    merged = "<s><turn>user\nBe brief.\n\n1+1?</turn>\n"
    assert lm.apply_chat_template(messages) == merged
    assert lm.chat_template("chatml") == CHATML
    assert lm.apply_chat_template(messages) == render(CHATML, messages) + "<|im_start|>assistant\n"
    assert make(chat_template_args={"chat_template": "strict"}).apply_chat_template(messages) == merged


SYSTEM = {"role": "system", "content": "Be brief. \n"}
USER = {"role": "user", "content": "1+1?"}
ANSWER = {"role": "assistant", "content": "2"}
BOTH = {"role": "user", "content": "Be brief.\n\n1+1?"}


@pytest.mark.parametrize(
    ("messages", "merged"),
    [
        ([], []),
        ([USER], [USER]),
        ([SYSTEM, USER], [BOTH]),
        ([SYSTEM, USER, ANSWER, USER], [BOTH, ANSWER, USER]),
        ([SYSTEM], [SYSTEM | {"role": "user"}]),
        ([SYSTEM, ANSWER, USER], [SYSTEM | {"role": "user"}, ANSWER, USER]),
        ([USER, SYSTEM], [USER, SYSTEM]),
    ],
    ids=["empty", "no system", "zero-shot", "few-shot", "system alone", "answer first", "system later"],
)
def test_merge(messages: Messages, merged: Messages) -> None:
    before = copy.deepcopy(messages)
    assert merge_system_role(messages) == merged
    assert messages == before


def test_a_merged_prompt_passes_a_template_that_refuses_system() -> None:
    assert render(STRICT, merge_system_role([SYSTEM, USER, ANSWER, USER])) == (
        "<s><turn>user\nBe brief.\n\n1+1?</turn>\n<turn>assistant\n2</turn>\n<turn>user\n1+1?</turn>\n"
    )


def test_other_fields_of_a_turn_are_kept() -> None:
    (turn,) = merge_system_role([SYSTEM, USER | {"name": "ann"}])
    assert turn == BOTH | {"name": "ann"}
