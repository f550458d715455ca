"""Encoder-decoders: the decoder is steered, and gives what `hf`, the harness's `steered` and the oracle give."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.models.hf_steered import SteeredModel
from lm_eval.models.huggingface import HFLM

import models
from conftest import make_vector
from lm_eval_steer.engines.protocol import Generation, Job
from lm_eval_steer.engines.reference import Reference
from lm_eval_steer.models.hf import SteeredHF
from steerings import steering
from test_axis import KEY, choices, requests
from test_hf import CONTEXTS, all_answers, export_for_harness, generations, make, scorings

FAMILIES = list(models.ENCODER_DECODERS)


def oracle(lm: SteeredHF, alpha: float) -> Reference:
    assert lm.plan.vector is not None
    return Reference(lm.model, steering(lm.plan.vector.directions, alpha, tokens=lm.plan.tokens))


@pytest.mark.parametrize("family", FAMILIES)
def test_alpha_zero_is_hf_byte_for_byte(family: str) -> None:
    assert all_answers(make(family=family, vectors=make_vector(), alpha=0)) == all_answers(make(HFLM, family))


@pytest.mark.parametrize("tokens", ["all", "prompt", "generated", "last"])
@pytest.mark.parametrize("family", FAMILIES)
def test_texts_and_scores_equal_the_oracle(family: str, tokens: str, tmp_path: Path) -> None:
    lm = make(family=family, vectors=make_vector(), alpha=[0.5, -2.0], tokens=tokens, vote_answer=KEY,
              record=str(tmp_path / "record"))  # fmt: skip
    prompts = [lm._encode(text, lm.max_length) for text in CONTEXTS]
    generation = Generation((), 12, {"do_sample": False})
    changed = 0
    for done in lm.engine.run([Job(None, number, prompt, generation) for prompt in prompts for number in range(2)]):
        prompt, reference = done.job.prompt, oracle(lm, lm.plan.alphas[done.job.intervention])
        assert reference.generate(prompt, 12, [lm.eot_token_id]).agrees(done.tokens)
        assert done.logprob == pytest.approx(reference.score(prompt, done.tokens)[0], abs=1e-3)
        changed += oracle(lm, 0.0).generate(prompt, 12, [lm.eot_token_id]).tokens != done.tokens
    assert changed, "no text was changed by any strength"
    measured = lm.engine.measured()
    assert measured.steered == measured.implied
    assert all(count > 0 for count in measured.steered.values())
    assert not measured.not_compared

    one = make(family=family, vectors=make_vector(), alpha=1.5, tokens=tokens)
    reference = oracle(one, 1.5)
    for request, (score, greedy) in zip(scorings(), one.loglikelihood(scorings()), strict=True):
        expected = reference.score(*one._encode_choice(*request.args))
        assert score == pytest.approx(expected[0], abs=1e-3)
        assert greedy == expected[1]
    measured = one.engine.measured()
    assert measured.steered == measured.implied


@pytest.mark.parametrize("family", FAMILIES)
def test_equals_the_harness_own_steered_model(family: str, tmp_path: Path) -> None:
    lm = make(family=family, batch_size=1, vectors=make_vector(), alpha=0.5)
    other = make(SteeredModel, family, 1, steer_path=export_for_harness(lm, tmp_path / "steered.pt"))
    for ours, theirs in zip(lm.generate_until(generations()), other.generate_until(generations()), strict=True):
        assert theirs.startswith(ours)  # the harness gives a decoder as many tokens more as its prompt has
    for ours, theirs in zip(lm.loglikelihood(scorings()), other.loglikelihood(scorings()), strict=True):
        assert ours[0] == pytest.approx(theirs[0], abs=1e-4)
        assert ours[1] == theirs[1]


def test_a_set_votes_and_says_why_it_is_slow(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        lm = make(family="t5", vectors=make_vector(), alpha=[0.5, 1.0], vote_answer=KEY, vote="weighted",
                  record=str(tmp_path / "record"))  # fmt: skip
    assert "run one at a time: T5ForConditionalGeneration has an encoder" in caplog.text
    singles = [make(family="t5", vectors=make_vector(), alpha=alpha) for alpha in (0.5, 1.0)]
    for voted, *alone in zip(lm.generate_until(requests()), *(one.generate_until(requests()) for one in singles)):  # noqa: B905
        assert voted in alone
    lm.loglikelihood(choices())
    assert lm.get_model_info()["steering"]["responses"] == {"run": 2 * len(requests()) + 2 * 5, "from_record": 0}


@pytest.mark.parametrize("family", ["t5", "mamba"])
def test_draws_depend_on_the_seed_alone(family: str, tmp_path: Path) -> None:
    """Where transformers' own loop draws: whatever was drawn before, and whatever else is in the batch."""

    def draw(name: str, asked: list[Instance]) -> dict[str, str | None]:
        lm = make(family=family, vectors=make_vector(), alpha=[0.5, 1.0, 1.5], control="self-consistency",
                  vote_answer=KEY, record=str(tmp_path / name))  # fmt: skip
        texts: dict[str, str | None] = {}
        lm.watch = lambda line, new: texts.update({f"{line.prompt} {line.variant}": line.response})
        lm.generate_until(asked)
        return texts

    first = draw("first", requests(CONTEXTS))
    torch.rand(7)
    last = draw("second", requests(CONTEXTS)[1:3])
    assert len(last) == 6
    assert len(set(first.values())) > 3
    assert last.items() <= first.items()
