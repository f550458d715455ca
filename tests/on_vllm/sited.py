"""Interventions at every site, and what came of them against the slow oracle; for models of two heads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

import models
from conftest import make_vector
from lm_eval_steer.engines.protocol import Done, Generation, Job
from lm_eval_steer.engines.reference import Reference
from lm_eval_steer.interventions.intervention import Intervention, intervene
from lm_eval_steer.interventions.operators.low_rank import as_rows
from steerings import steering

WIDTH, HEADS = 64, 2
OWN, OTHER = (make_vector(width=WIDTH, seed=seed).directions for seed in (0, 1))
BY_HEAD = OWN.reshape(models.DEPTH, HEADS, -1)
PLANE = np.stack([OTHER, OWN], axis=1)
MAP = [np.random.default_rng(0).normal(size=size) / 4 for size in ((WIDTH, 2), (2,), (WIDTH, 2))]
OPTIONS = (" red", " blue and green", " 5")
SITED = [
    steering(OWN, 2.0, site="block_input"),
    steering({1: OTHER[1]}, -0.6, "add_keep_norm", unit="dose", site="block_input", tokens="generated"),
    steering(OWN, 2.0, site="attention", tokens="last:-2"),
    steering(OTHER, 1.0, "ablate", site="attention"),
    steering(OTHER, 2.0, site="mlp", tokens="generated"),
    steering(OWN, 0.5, "set", site="mlp", tokens="prompt"),
    steering(PLANE, 40.0, "rotate", site="mlp"),
    steering(BY_HEAD, 3.0, site="heads"),
    steering(BY_HEAD, 50.0, "turn", site="heads", tokens="generated"),
    steering(np.stack([BY_HEAD, BY_HEAD[:, ::-1]], axis=-2), 0.5, "swap", site="heads"),
    steering({1: BY_HEAD[1]}, 0.5, unit="dose", site="heads"),
    steering({0: OWN[0]}, 2.0, site="final_norm"),
    steering({0: OTHER[0]}, 0.3, "slerp", site="final_norm", tokens="generated"),
    steering({0: as_rows(*MAP)}, 0.5, "low_rank", site="final_norm"),
    steering({1: as_rows(*MAP)}, 0.5, "low_rank", site="mlp", tokens="generated"),
    steering(PLANE, 120.0, "rotate_to", site="attention"),
    steering(OTHER, 1.5),
]
"""Shifts and other operators, units and token rules at each site, and outputs of blocks beside them."""
SHIFTS = [one for one in SITED if one.edits[0].operator == "add" and one.unit == "length"]
SITED.append(intervene([edit for one in SHIFTS for edit in one.edits]))


def writing(hf: Any, contexts: Sequence[str], interventions: int, length: int) -> list[Job]:
    """A text to be written for every intervention and context; the key is the context's number."""
    told = Generation((), length, {"temperature": 0.0})
    return [
        Job(place, number, prompt=hf.tok_encode(context), generation=told)
        for number in range(interventions)
        for place, context in enumerate(contexts)
    ]


def scoring(hf: Any, contexts: Sequence[str], interventions: int) -> list[Job]:
    """The options to be scored for every intervention and context."""
    return [
        Job(place, number, pairs=tuple((hf.tok_encode(context), hf.tok_encode(option)) for option in OPTIONS))
        for number in range(interventions)
        for place, context in enumerate(contexts)
    ]


def check(hf: Any, interventions: Sequence[Intervention], found: Sequence[Done], length: int) -> None:
    """Hold everything that came back against the oracle."""
    oracles = [Reference(hf.model, one, tokenizer=hf.tokenizer) for one in interventions]
    for done in found:
        oracle = oracles[done.job.intervention]
        if done.scores is None:
            assert oracle.generate(done.job.prompt, length, [hf.eot_token_id]).agrees(done.tokens or []), done.job
            continue
        for (context, continuation), (score, greedy) in zip(done.job.pairs, done.scores, strict=True):
            wanted, likeliest = oracle.score(context, continuation)
            assert abs(score - wanted) <= 5e-5 * len(continuation), (done.job, score, wanted)
            assert greedy == likeliest


def check_sites(lm: Any, hf: Any, contexts: Sequence[str], length: int = 5) -> None:
    """Every site side by side in one batch, texts and scores; then one request alone."""
    lm.engine.cached = True
    lm.engine.load(SITED)
    jobs = [*writing(hf, contexts, len(SITED), length), *scoring(hf, contexts[:1], len(SITED))]
    found = list(lm.engine.run(jobs))
    assert len(found) == len(jobs)
    check(hf, SITED, found, length)
    told = {done.job.intervention: round(done.scores[0][0], 5) for done in found if done.scores}
    assert len(set(told.values())) > 0.6 * len(SITED)  # Cohere's logits are small, and move little
    measured = lm.engine.measured()
    assert measured.steered == measured.implied
    assert min(measured.steered.values()) > 0
    assert measured.doses.keys() <= {one.fingerprint for one in SITED}
    assert len(measured.doses) > len(SITED) / 2  # of a long pass a sample is measured, which one token may miss
    alone = lm.engine.run([Job(0, len(SITED) - 1, prompt=hf.tok_encode(contexts[0]), generation=jobs[0].generation)])
    check(hf, SITED, list(alone), length)
