"""How much a study asks of its models, against counts by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import models
import sweeps
from lm_eval_steer.grid.estimate import Cost, count_arms, estimate
from lm_eval_steer.grid.overview import tell_saving
from lm_eval_steer.grid.stages import make_stages
from lm_eval_steer.grid.study import make_study


@pytest.mark.parametrize(
    ("arms", "given", "times"),
    [
        ({"own": False}, {"alpha": [1, 2]}, (1 + 2, 1 + 2)),
        # The vectors, a negated one of each, one random one; self-consistency draws twice, identity answers once.
        (
            {"own": False, "big": False},
            {"alpha": [1, 2], "controls": "random:1,negated,identity,self-consistency"},
            (1 + 2 * 5, 1 + 2 * 5 + 1 + 2),
        ),
        # Maps of shuffled texts are controls of fitted maps alone.
        ({"own": False, "big": True}, {"dose": [0.1], "controls": "map-shuffled:3"}, (1 + 5, 1 + 5)),
        ({"own": False, "big": False}, {"alpha": "paper", "votes": ["none"]}, (1 + 36, 1 + 2)),
        ({"own": False, "big": False}, {"alpha": [1, 2, 3], "votes": ["big"]}, (1 + 6, 1 + 3 + 1)),
        (
            {"own": False},
            {"alpha": [1], "others": {"prompt": ["a", "b"], "shots": 3, "model": ["x", "y"]}},
            (1 + 1 + 2, 1 + 1 + 1 + 1 + 2),
        ),
    ],
)
def test_how_often_a_document_is_answered(arms: dict[str, bool], given: dict[str, Any], times: tuple[int, int]) -> None:
    assert count_arms(arms, given) == times


def test_passes_and_tokens_of_a_study_are_those_of_its_documents(tmp_path: Path) -> None:
    """A tokenizer of bytes: the tokens of a prompt are its bytes."""
    child = str(models.save_model(tmp_path / "c", "llama"))
    study = make_study(
        {
            "parents": {name: {"model_args": {"pretrained": f"org/{name}"}} for name in ("a", "b")},
            "children": {"one": {"model_args": {"pretrained": child}}},
            "tasks": ["arith_steer"],
            "alpha": [1, 2],
            "controls": "random:1",
            "limit": 4,
            "val_limit": 3,
            "extract": {"n": 16},
        }
    )
    costs = estimate(make_stages(study))
    bytes_of = {}
    for name, limit in (("arith_steer_val", 3), ("arith_steer", 4)):
        task = sweeps.manager().load([name])["tasks"][name]
        task.build_all_requests(limit=limit, rank=0, world_size=1)
        bytes_of[name] = sum(len(one.args[0].encode()) for one in task.instances)
    times = 1 + 2 * 4  # own, two parents and a random one at two strengths
    read = times * sum(bytes_of.values())
    assert costs["sweep"][0] == Cost(7 * times, pytest.approx(read), 7 * times * 128)
    # A cell by itself: the baseline, own, one parent and a random one.
    assert costs["sweep"][1] == Cost(2 * 7 * 7, pytest.approx(2 * 7 * read / times), 2 * 7 * 7 * 128)
    assert costs["extract"][0] == Cost(3 * 2 * 16)
    assert tell_saving(costs).endswith("36% of the sweeps' forward passes are spared.")  # 9 of 14 are left
