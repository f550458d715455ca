"""The shipped vectors of sentiment in the real child: a fitted map carries the concept, a cut or a shuffled map not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lm_eval import simple_evaluate
from lm_eval.tasks import TaskManager

from lm_eval_steer.interventions.plan import SteeringPlan
from lm_eval_steer.models.hf import SteeredHF
from lm_eval_steer.tasks.sentiment import task

PARENT = "qwen2.5-coder-0.5b_sentiment"
ARMS: dict[str, dict[str, Any]] = {
    "own": {"vectors": "smollm2_sentiment"},
    "mapped": {"vectors": f"{PARENT}_for_smollm2"},
    "map-shuffled": {"vectors": f"{PARENT}_for_smollm2.map-shuffled-1"},
    "cut": {"vectors": PARENT},
    "random": {"vectors": "smollm2_sentiment", "control": "random:1"},
}
ROWS = 24


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def effects(smollm2: Path) -> dict[str, float]:
    """Half the difference of log_odds between +v and -v by arm, in nats: mean over rows, all blocks, dose 0.01."""
    manager = TaskManager(include_path=str(task.HERE), include_defaults=False)
    lm = SteeredHF(pretrained=str(smollm2), dtype="float32", device="cpu", batch_size=16, alpha=0)

    def measure(arguments: dict[str, Any], dose: float) -> float:
        lm.steer(SteeringPlan.build(**arguments, dose=dose))
        out = simple_evaluate(model=lm, tasks=["sentiment_steer"], task_manager=manager, limit=ROWS, bootstrap_iters=0)
        return float(np.mean([sample["log_odds"] for sample in out["samples"]["sentiment_steer"]]))

    return {name: (measure(arm, 0.01) - measure(arm, -0.01)) / 2 for name, arm in ARMS.items()}


def test_a_fitted_map_carries_most_of_what_the_own_vector_does(effects: dict[str, float]) -> None:
    assert effects["own"] > 4
    assert effects["mapped"] / effects["own"] > 0.75


@pytest.mark.parametrize("arm", ["cut", "map-shuffled", "random"])
def test_what_knows_nothing_of_the_concept_moves_next_to_nothing(effects: dict[str, float], arm: str) -> None:
    assert abs(effects[arm]) / effects["own"] < {"cut": 0.2, "map-shuffled": 0.1, "random": 0.05}[arm]
