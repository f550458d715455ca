"""A limit of the visible part on vLLM: the text without it, cut, and what steered-hf gives."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_vllm import WIDTH, lines_of, requests, save, start, start_hf, stop

from conftest import make_vector
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.plan import SteeringPlan
from visible import common_ends, cut_by_hand, spy

LIMIT, LONG = 5, {"max_gen_toks": 40, "until": []}


def test_a_limit_cuts_the_text_without_it_as_on_hf(tmp_path: Path) -> None:
    folder, arguments = save(tmp_path / "model", "llama"), {"vectors": make_vector(width=WIDTH), "alpha": 3.0}
    hf = start_hf(folder, **arguments)
    whole = spy(hf)
    hf.generate_until(requests(**LONG))
    end = common_ends(hf.tokenizer, whole)["two"]
    cut = {prompt: cut_by_hand(hf.tokenizer, text, end, LIMIT) for prompt, text in whole.items()}
    assert cut != whole, "no text is cut"
    hf = start_hf(folder, **arguments, think_end_token=end, record=str(tmp_path / "hf"))
    limited = hf.generate_until(requests(**LONG, max_answer_toks=LIMIT))
    hf.steer(SteeringPlan.build(alpha=0, record=str(tmp_path / "hf")))
    plain = hf.generate_until(requests(**LONG, max_answer_toks=LIMIT))
    lm = start(folder, **arguments, think_end_token=end, record=str(tmp_path / "vllm"))
    try:
        tokens = spy(lm)
        assert lm.generate_until(requests(**LONG, max_answer_toks=LIMIT)) == limited
        assert tokens == cut
        lm.steer(SteeringPlan.build(alpha=0, record=str(tmp_path / "vllm")))
        assert lm.generate_until(requests(**LONG, max_answer_toks=LIMIT)) == plain
    finally:
        stop(lm)
    theirs = lines_of(tmp_path / "hf")
    for key, line in lines_of(tmp_path / "vllm").items():
        other = theirs[key]
        assert (line.response, line.tokens, line.stop) == (other.response, other.tokens, other.stop)
        assert line.logprob == pytest.approx(other.logprob, abs=1e-3)


def test_thoughts_need_an_end() -> None:
    with pytest.raises(SteeringError, match="enable_thinking=True needs to know where a thought ends"):
        start("nowhere", enable_thinking=True)
