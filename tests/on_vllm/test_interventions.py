"""Interventions that share the batches of one engine, each against the slow oracle (engines/reference.py)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from sited import OTHER, OWN, check, check_sites, scoring, writing
from test_vllm import CONTEXTS, SHARED, WIDTH, save, start, start_hf, stop

from lm_eval_steer.engines.protocol import Job
from lm_eval_steer.interventions.intervention import NOTHING
from lm_eval_steer.interventions.operators import OPERATORS
from lm_eval_steer.interventions.operators.low_rank import as_rows
from steerings import steering

LENGTH = 12
EVEN = str(list(range(0, 250, 2))).replace(" ", "")
DRAW = np.random.default_rng(0)
MAPS = [[DRAW.normal(size=size) / 4 for size in ((WIDTH, 2), (2,), (WIDTH, 2))] for _ in range(3)]
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
    steering(np.stack([OTHER, OWN], axis=1), 120.0, "rotate_to", tokens="prompt"),
    steering(OWN, 3.0, tokens="first:3"),
    steering(OTHER, 3.0, tokens="after:2"),
    steering(OWN, 4.0, tokens="last:-4"),
    steering(OWN, 40.0, "turn", tokens="generated"),
    steering({0: OTHER[0], 2: OWN[2]}, {0: 0.5, 2: -0.3}, "slerp"),
    steering(OTHER, 2.0, "icv"),
    steering(OWN, 0.3, "icv", unit="dose", tokens="prompt"),
    steering({block: as_rows(*part) for block, part in enumerate(MAPS)}, 0.5, "low_rank"),
    steering({1: as_rows(*(one[..., :1] for one in MAPS[0]))}, 0.8, "low_rank", tokens="generated"),
    steering(OWN, 4.0, tokens='match:"e"'),
    steering(OTHER, 5.0, tokens='match:"he"'),
    steering(OWN, 3.0, tokens=f"generated:match:{EVEN}"),
]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = save(tmp_path_factory.mktemp("llama"), "llama")
    lm = start(folder)
    lm.engine.cached = True
    yield lm, start_hf(folder)
    stop(lm)


def test_vectors_operators_units_and_token_rules_share_a_batch(pair: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert {edit.operator for one in INTERVENTIONS for edit in one.edits} == set(OPERATORS)
    lm, hf = pair
    engine, contexts = lm.engine, [*CONTEXTS[:3], SHARED, SHARED + "Hello"]
    jobs = writing(hf, contexts, len(INTERVENTIONS), LENGTH)
    passes = []
    step = lm.model.llm_engine.step
    monkeypatch.setattr(lm.model.llm_engine, "step", lambda: passes.append(1) or step())
    engine.load(INTERVENTIONS)
    passes.clear()  # of the self-check
    written = list(engine.run(jobs))
    assert len(passes) <= 2 * LENGTH  # so all of them were in the same batches, but for those of the prompts
    scored = list(engine.run(scoring(hf, contexts, len(INTERVENTIONS))))
    assert len(written) == len(scored) == len(jobs)
    check(hf, INTERVENTIONS, written + scored, LENGTH)
    texts = {
        number: [done.tokens for done in written if done.job.intervention == number]
        for number in range(len(INTERVENTIONS))
    }
    # Weak ones may leave five short texts as they are; each was held to the oracle above.
    assert len({str(sorted(map(str, found))) for found in texts.values()}) > 0.85 * len(INTERVENTIONS)
    measured = engine.measured()
    assert measured.steered == measured.implied
    assert min(measured.steered.values()) > 0
    assert measured.doses.keys() == {one.fingerprint for one in INTERVENTIONS if one.acts}


def test_all_sites_share_a_batch(pair: Any) -> None:
    """Prompts that begin alike, too, whose keys and values come from the cache."""
    check_sites(*pair, [CONTEXTS[0], SHARED, SHARED + "Hello"])


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
        check(hf, chosen, list(lm.engine.run([Job(0, 0, pairs=pairs)])), LENGTH)
    measured = lm.engine.measured()
    assert measured.steered == measured.implied
