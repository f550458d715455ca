"""Every site of every family: one batch of unlike interventions against the oracle, which knows families by name."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch

import models
from lm_eval_steer.engines.hf.causal import CausalEngine
from lm_eval_steer.engines.hf.child import Child
from lm_eval_steer.engines.hf.encoder_decoder import EncoderDecoderEngine
from lm_eval_steer.engines.hf.hooks import Steerer
from lm_eval_steer.engines.protocol import Generation, Job
from lm_eval_steer.engines.reference import Reference
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.intervention import NOTHING, Intervention
from lm_eval_steer.sites import SITES
from steerings import steering

SHARED = list(range(60, 84))
PROMPTS = [[*SHARED, 5], [*SHARED, 9, 8, 7]]
PAIRS = (([*SHARED, 5], [7, 8, 9]), ([*SHARED, 5], [6]))
GREEDY = Generation((), 4, {"do_sample": False})
EVERY = tuple(range(models.DEPTH))
HAVE: dict[str, dict[str, tuple[int, ...]]] = {
    "mamba": {"attention": (), "mlp": (), "heads": ()},
    "qwen3_next": {"attention": (1,), "heads": (1,)},
    "lfm2": {"attention": (1,), "heads": (1,)},
    "recurrent_gemma": {"attention": (2,), "heads": (2,)},
    "openai-gpt": {"attention": (), "mlp": (), "final_norm": ()},
    "rwkv": {"attention": (1, 2), "mlp": (1, 2), "heads": ()},
    "minimax": {"attention": (), "mlp": (), "heads": (1,)},
    "t5": {"attention": (), "mlp": (), "heads": ()},
    "bart": {"attention": (), "mlp": (), "final_norm": ()},
}
"""Family -> site -> blocks that have it, where these are not all."""


def blocks_of(family: str, site: str) -> tuple[int, ...]:
    return HAVE.get(family, {}).get(site, EVERY if SITES[site].in_blocks else (0,))


def drawn(seed: int, site: str) -> np.ndarray:
    """Directions of length 1, by head where there are heads, of which the second is not steered."""
    heads = (4, 8) if SITES[site].by_head else (models.WIDTH,)
    found = np.random.default_rng(seed).normal(size=(models.DEPTH, *heads)).astype(np.float32)
    found /= np.linalg.norm(found, axis=-1, keepdims=True)
    if SITES[site].by_head:
        found[:, 1] = 0
    return found


def unlike(family: str) -> list[Intervention]:
    """A shift, and something else in another unit and elsewhere in the text, at each site; all sites at once."""
    found, together = [NOTHING], []
    for number, site in enumerate(SITES.names):
        blocks = blocks_of(family, site)
        first, second = ({block: drawn(seed, site)[block] for block in blocks} for seed in (number, 10 + number))
        found.append(steering(first, 3.0, site=site, tokens=("all", "generated")[number % 2]))
        found.append(steering(second, 0.5, "add_keep_norm", unit="dose", site=site, tokens=("last", "all")[number % 2]))
        found.append(steering(second, 1.0, "ablate", site=site))
        together += steering(first, 1.0, site=site).edits
    return [one for one in found if one.acts or one is NOTHING] + [Intervention(tuple(together))]


FAMILIES = [*models.FAMILIES, *models.OTHERS, *models.OF_SITES, *models.PARENTS, "cohere", *models.ENCODER_DECODERS]
QUICK = ("llama", "gemma2", "granite", "opt")


@pytest.mark.parametrize(
    "family", [one if one in QUICK else pytest.param(one, marks=pytest.mark.slow) for one in FAMILIES]
)
def test_a_batch_of_all_sites_equals_the_oracle(family: str) -> None:
    child = Child(models.make_model(family), models.make_tokenizer(), torch.device("cpu"), 2048)
    engine: Any = (EncoderDecoderEngine if family in models.ENCODER_DECODERS else CausalEngine)(child)
    interventions = unlike(family)
    engine.load(interventions)
    engine.batch_size = 1 if family == "opt" else 16
    jobs = [Job(None, number, pairs=PAIRS) for number in range(len(interventions))]
    some = range(0, len(interventions), 4 if family == "llama" else 9)
    jobs += [Job(None, number, prompt, GREEDY) for number, prompt in product(some, PROMPTS)]
    seen = set()
    for done in engine.run(jobs):
        oracle = Reference(child.model, interventions[done.job.intervention])
        if done.scores is None:
            assert oracle.generate(done.job.prompt, 4, [257]).agrees(done.tokens), done.job.intervention
            continue
        for found, pair in zip(done.scores, PAIRS, strict=True):
            assert found == (pytest.approx(oracle.score(*pair)[0], abs=3e-4 * len(pair[1])), oracle.score(*pair)[1])
        seen.add(round(done.scores[0][0], 3))
    assert len(seen) > len(interventions) - 3  # hardly any leaves the log-likelihood as it was
    measured = engine.measured()
    assert measured.steered == measured.implied or measured.not_compared


LACKS = {
    (
        "mamba",
        "mlp",
        0,
    ): "block 0 of MambaForCausalLM has no mlp, what it has is mixer: choose other blocks with layers=",
    ("qwen3_next", "heads", 0): "has no attention, what it has is linear_attn, mlp: choose other blocks",
    ("recurrent_gemma", "attention", 1): "has no attention, what it has is temporal_block, mlp_block: choose",
    ("openai-gpt", "attention", 1): "is not its input plus what attn, mlp, ln_2 give, so nothing is what attn adds",
    ("openai-gpt", "final_norm", 0): "has no norm behind its last block whose output its head reads: steer the last",
    (
        "minimax",
        "mlp",
        2,
    ): "is not its input plus what self_attn, mlp give, so nothing is what mlp adds to the residual",
    ("bart", "mlp", 0): "is not its input plus what self_attn, encoder_attn, fc2, final_layer_norm give",
    ("t5", "heads", 0): "has no attention, what it has is layer: choose other blocks",
}


@pytest.mark.parametrize(("family", "site", "block"), LACKS)
def test_a_family_without_a_site_says_what_it_has(family: str, site: str, block: int) -> None:
    one = steering({block: drawn(0, site)[block]}, 1.0, site=site)
    with pytest.raises(SteeringError, match=LACKS[family, site, block]):
        Steerer(models.make_model(family), [one])


def test_an_mlp_of_two_modules_is_no_one_site() -> None:
    config: dict[str, Any] = {"num_local_experts": 2, "num_experts_per_tok": 1, "layer_types": ["attention"] * 3}
    config |= {"shared_intermediate_size": 48, "mamba_n_heads": 4, "mamba_d_head": 16}
    model = models.make_model("granitemoehybrid", **config)
    one = steering(drawn(0, "mlp"), 1.0, site="mlp")
    with pytest.raises(SteeringError, match="has no one mlp but block_sparse_moe and shared_mlp"):
        Steerer(model, [one])
