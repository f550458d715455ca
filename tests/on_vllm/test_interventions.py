"""Interventions that share the batches of one engine, each against the slow oracle (engines/reference.py)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from test_vllm import CONTEXTS, SHARED, WIDTH, save, start, start_hf, stop

from conftest import make_vector
from lm_eval_steer.engines.protocol import Done, Generation, Job
from lm_eval_steer.engines.reference import Reference
from lm_eval_steer.interventions.intervention import NOTHING, Intervention
from steerings import steering

LENGTH = 12
OPTIONS = (" red", " blue and green", " 5")
OWN, OTHER = (make_vector(width=WIDTH, seed=seed).directions for seed in (0, 1))
INTERVENTIONS = [
    NOTHING,
    steering(OWN, 2.0),
    steering(OWN, 1.5, "add_keep_norm", tokens="generated"),
    steering(OTHER, 0.4, unit="dose", tokens="prompt"),
    steering({1: OTHER[1]}, -0.6, "add_keep_norm", unit="dose"),
    steering({0: OWN[0], 2: OTHER[2]}, {0: 2.0, 2: -3.0}, tokens="generated"),
    steering(OWN, 1.0, "ablate"),
    steering(OTHER, 0.0, "set", tokens="prompt"),
    steering({1: OWN[1]}, 0.3, "set_at_least", unit="dose", tokens="generated"),
    steering(OTHER, -0.5, "set_at_most"),
    steering(np.stack([OWN, OTHER], axis=1), 30.0, "rotate"),
    steering(np.stack([OTHER, OWN], axis=1), 0.5, "swap", tokens="generated"),
    steering(OWN, 3.0, tokens="first:3"),
    steering(OTHER, 3.0, tokens="after:2"),
    steering(OWN, 4.0, tokens="last:-4"),
    steering(OWN, 40.0, "turn", tokens="generated"),
    steering({0: OTHER[0], 2: OWN[2]}, {0: 0.5, 2: -0.3}, "slerp"),
]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = save(tmp_path_factory.mktemp("llama"), "llama")
    lm = start(folder)
    lm.engine.cached = True
    yield lm, start_hf(folder)
    stop(lm)


def writing(hf: Any, contexts: list[str], interventions: int) -> list[Job]:
    """A text to be written for every intervention and context; the key is the context's number."""
    told = Generation((), LENGTH, {"temperature": 0.0})
    return [
        Job(place, number, prompt=hf.tok_encode(context), generation=told)
        for number in range(interventions)
        for place, context in enumerate(contexts)
    ]


def scoring(hf: Any, contexts: list[str], interventions: int) -> list[Job]:
    """The options to be scored for every intervention and context."""
    return [
        Job(place, number, pairs=tuple((hf.tok_encode(context), hf.tok_encode(option)) for option in OPTIONS))
        for number in range(interventions)
        for place, context in enumerate(contexts)
    ]


def check(hf: Any, interventions: list[Intervention], found: list[Done]) -> None:
    """Hold everything that came back against the oracle."""
    oracles = [Reference(hf.model, one) for one in interventions]
    for done in found:
        oracle = oracles[done.job.intervention]
        if done.scores is None:
            assert oracle.generate(done.job.prompt, LENGTH, [hf.eot_token_id]).agrees(done.tokens or [])
            continue
        for (context, continuation), (score, greedy) in zip(done.job.pairs, done.scores, strict=True):
            wanted, likeliest = oracle.score(context, continuation)
            assert score == pytest.approx(wanted, abs=5e-5 * len(continuation))
            assert greedy == likeliest


def test_vectors_operators_units_and_token_rules_share_a_batch(pair: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    lm, hf = pair
    engine, contexts = lm.engine, [*CONTEXTS[:3], SHARED, SHARED + "Hello"]
    jobs = writing(hf, contexts, len(INTERVENTIONS))
    passes = []
    step = lm.model.llm_engine.step
    monkeypatch.setattr(lm.model.llm_engine, "step", lambda: passes.append(1) or step())
    engine.load(INTERVENTIONS)
    passes.clear()  # of the self-check
    written = list(engine.run(jobs))
    assert len(passes) <= 2 * LENGTH  # so all of them were in the same batches, but for those of the prompts
    scored = list(engine.run(scoring(hf, contexts, len(INTERVENTIONS))))
    assert len(written) == len(scored) == len(jobs)
    check(hf, INTERVENTIONS, written + scored)
    texts = {
        number: [done.tokens for done in written if done.job.intervention == number]
        for number in range(len(INTERVENTIONS))
    }
    assert len({str(sorted(map(str, found))) for found in texts.values()}) == len(INTERVENTIONS)
    measured = engine.measured()
    assert measured.steered == measured.implied
    assert min(measured.steered.values()) > 0
    assert measured.doses.keys() == {one.fingerprint for one in INTERVENTIONS if one.acts}


def test_a_text_that_was_scored_is_the_beginning_of_another(pair: Any) -> None:
    """Its last token is steered in the other one, which reads the keys and values of whole pages from the cache."""
    lm, hf = pair
    page = int(lm.model.llm_engine.vllm_config.cache_config.block_size)
    beginning = hf.tok_encode(SHARED)[: page - 1]
    assert len(beginning) == page - 1
    last, more, option = (hf.tok_encode(text)[-1:] for text in "xyz")
    chosen = [steering(OWN, 4.0)]
    lm.engine.load(chosen)
    for pairs in (((beginning, last),), ((beginning + last + more, option),)):
        check(hf, chosen, list(lm.engine.run([Job(0, 0, pairs=pairs)])))
    measured = lm.engine.measured()
    assert measured.steered == measured.implied
