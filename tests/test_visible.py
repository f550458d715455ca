"""A limit of the visible part: the text without it, cut where so many tokens stand behind the thought."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
from lm_eval.models.huggingface import HFLM

import models
from conftest import make_vector
from lm_eval_steer.axis.record import read_lines
from lm_eval_steer.engines.protocol import Visible
from lm_eval_steer.engines.visible import Cut
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.models.generation import check_generation, check_thinking
from lm_eval_steer.models.hf import SteeredHF
from test_axis import requests
from test_hf import CONTEXTS, make, scorings
from visible import common_ends, cut_by_hand, read_by_hand, spy

LIMIT, WHOLE = 5, 40
LONG = {"max_gen_toks": WHOLE, "until": []}
TOKENIZER = models.make_tokenizer()


@cache
def long_texts(alpha: float, beams: int = 1) -> dict[str, list[int]]:
    lm = make(vectors=make_vector(), alpha=alpha)
    lm.runs_plainly = False
    found = spy(lm)
    lm.generate_until(requests(CONTEXTS, **LONG, **({"num_beams": beams} if beams > 1 else {})))
    return found


@pytest.mark.parametrize(
    ("alpha", "kind", "arguments"),
    [
        (3.0, "number", {}),
        (3.0, "character", {}),
        (3.0, "two", {}),
        (0, "character", {}),
        (0, "two", {"control": "identity"}),
        (3.0, "character", {"num_beams": 2}),  # the loop of transformers
    ],
)
def test_a_limit_cuts_the_text_without_it(alpha: float, kind: str, arguments: dict[str, Any], tmp_path: Path) -> None:
    given = {key: arguments[key] for key in arguments if key == "control"}
    told = {key: arguments[key] for key in arguments if key != "control"}
    long = long_texts(alpha, told.get("num_beams", 1))
    end = common_ends(TOKENIZER, long)[kind]
    cut = {prompt: cut_by_hand(TOKENIZER, text, end, LIMIT) for prompt, text in long.items()}
    assert any(len(cut[prompt]) < len(long[prompt]) for prompt in cut), "no text is cut"
    lm = make(vectors=make_vector(), alpha=alpha, think_end_token=end, record=str(tmp_path), **given)
    responses = lm.generate_until(requests(CONTEXTS, **LONG, **told, max_answer_toks=LIMIT))
    assert responses == [read_by_hand(TOKENIZER, cut[prompt], end) for prompt in CONTEXTS]
    lines = {CONTEXTS[line.doc_id]: line for line in read_lines(tmp_path)}
    assert {prompt: line.tokens for prompt, line in lines.items()} == {prompt: len(cut[prompt]) for prompt in cut}
    ends = {prompt: "eos" if cut[prompt][-1] == TOKENIZER.eos_token_id else "length" for prompt in cut}
    ends = dict.fromkeys(ends) if told else ends  # which tells none
    assert {prompt: line.stop for prompt, line in lines.items()} == ends
    lm.engine.run = None
    assert lm.generate_until(requests(CONTEXTS, **LONG, **told, max_answer_toks=LIMIT)) == responses  # the record's
    with pytest.raises(TypeError):  # another limit is another response
        lm.generate_until(requests(CONTEXTS, **LONG, **told, max_answer_toks=LIMIT + 1))


def test_without_a_limit_nothing_steered_takes_the_path_of_hf() -> None:
    asked = requests(CONTEXTS, **LONG)
    lm = make(vectors=make_vector(), alpha=0, think_end_token="#")
    lm.engine.run = None
    assert lm.generate_until(asked) == make(HFLM, think_end_token="#").generate_until(asked)
    with pytest.raises(TypeError):
        lm.generate_until(requests(CONTEXTS, **LONG, max_answer_toks=LIMIT))
    assert lm.generate_until(asked)  # which an error does not change


@pytest.mark.parametrize(("alpha", "end"), [(3.0, "#"), (3.0, "46")])
def test_steered_thoughts_are_left_out_as_hf_leaves_them_out(alpha: float, end: str) -> None:
    expected = [read_by_hand(TOKENIZER, long_texts(alpha)[prompt], end) for prompt in CONTEXTS]
    lm = make(vectors=make_vector(), alpha=alpha, think_end_token=end)
    assert lm.generate_until(requests(CONTEXTS, **LONG)) == expected
    assert expected != make(vectors=make_vector(), alpha=alpha).generate_until(requests(CONTEXTS, **LONG))


def test_where_the_prompt_ends_the_thought_the_answer_begins_at_once() -> None:
    prompts = ["Is it so? <think>\n\n</think>\n\n", "Is it so? <think>\n"]
    lm = make(vectors=make_vector(), alpha=3.0, think_end_token="</think>")
    tokens = spy(lm)
    lm.generate_until(requests(prompts, **LONG, max_answer_toks=LIMIT))
    assert len(tokens[prompts[0]]) == LIMIT
    assert len(tokens[prompts[1]]) > LIMIT  # no thought ends in it


def test_a_thought_that_begins_again_counts_anew() -> None:
    cut = Cut(None, Visible(3, 7, begun=False))
    text = [1, 7, 2, 3, 7, 4, 5, 6, 8]
    assert [cut(text[:length]) for length in range(1, 10)] == [None] * 7 + [8, None]
    assert Cut(None, Visible(3, 7, begun=True))(text) == 8  # the two before the first end are no three
    assert Cut(None, Visible(1, 7, begun=True))(text) == 1
    assert Cut(None, None)(text) is None


@pytest.mark.parametrize("limit", [0, -1, True, "5", 2.5])
def test_a_limit_is_a_number(limit: Any) -> None:
    with pytest.raises(SteeringError, match=r"max_answer_toks=.* is no number of 1 or more"):
        check_generation({"max_answer_toks": limit})


def test_thoughts_need_an_end() -> None:
    with pytest.raises(SteeringError, match="enable_thinking=True needs to know where a thought ends: add think_end_"):
        SteeredHF("nowhere", alpha=0, enable_thinking=True)  # before a model is loaded
    with pytest.raises(SteeringError, match="max_answer_toks limits what stands behind a thought, and nothing says"):
        make(vectors=make_vector(), alpha=3.0).generate_until(requests(max_answer_toks=4))
    check_thinking({"enable_thinking": False}, {"max_gen_toks": 4})


@pytest.mark.parametrize("alpha", [0, 3.0])
def test_thinking_has_no_meaning_for_choices(alpha: float) -> None:
    lm = make(vectors=make_vector(), alpha=alpha, enable_thinking=True, think_end_token="</think>")
    with pytest.raises(SteeringError, match="enable_thinking=True has no meaning for multiple choice"):
        lm.loglikelihood(scorings())
