"""The paper's three datasets on children of further families: a set of strengths through the harness, scored whole."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from lm_eval import simple_evaluate

import models
from conftest import make_vector
from data import manager, provided
from lm_eval_steer.models.hf import SteeredHF

METRICS = {
    "gsm8k_steer": "exact_match,answer",
    "math_steer": "exact_match,answer",
    "arc_challenge_steer": "exact_match,answer",
    "arc_challenge_steer_mc": "acc,none",
}


@pytest.fixture(scope="module", autouse=True)
def published(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with provided(tmp_path_factory.mktemp("data")):
        yield


@pytest.mark.parametrize("family", ["qwen3", "gemma2", "phi3", "gpt_neox"])
def test_the_three_datasets_run_and_are_scored(family: str, tmp_path: Path) -> None:
    lm = SteeredHF(
        models.make_model(family),
        tokenizer=models.make_tokenizer(),
        max_length=600,  # the end of the prompts: attention over all of their bytes takes minutes
        batch_size=8,
        vectors=make_vector(),
        alpha=[0.5, 1.0],
        record=str(tmp_path / "record"),
    )
    for name, metric in METRICS.items():
        generates = name != "arc_challenge_steer_mc"
        out = simple_evaluate(
            model=lm,
            tasks=[name],
            task_manager=manager(),
            limit=1,
            gen_kwargs={"max_gen_toks": 4} if generates else None,
            bootstrap_iters=0,
        )
        assert out["results"][name][metric] in (0.0, 1.0)
        steering = out["config"]["steering"]
        assert name in steering["votes"]["keys"]
        assert steering["application"]["steered"] == steering["application"]["implied"]
    assert lm.get_model_info()["steering"]["responses"] == {"run": 8, "from_record": 0}
