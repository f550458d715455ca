"""Sweeps over tasks of every output type: each arm is what a run of its own gives."""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path
from typing import Any

import lm_eval
import pytest
from lm_eval.tasks import TaskManager

import sweeps
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.models.hf import SteeredHF
from lm_eval_steer.report.tables import read_leaderboard
from lm_eval_steer.sweep import run_sweep
from lm_eval_steer.sweep.harness import HarnessArgs
from lm_eval_steer.sweep.tasks import find_twins

VOTING = ("several_true", "repeated", "chosen")
NOT_VOTING = {
    "single": "a single continuation has none",
    "rolling": "a rolling log-likelihood has none",
    "perplexed": "a rolling log-likelihood has none",
    "listed": "extracts answers only while it scores",
    "two_ways": "texts beside log-likelihoods have none in common",
}
TASKS = (*VOTING, *NOT_VOTING)


@functools.cache
def manager() -> TaskManager:
    return TaskManager(include_path=str(sweeps.OUTPUTS), include_defaults=False)


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, Any], Path]:
    """A child, and what a sweep over all of the tasks says and leaves."""
    folder = tmp_path_factory.mktemp("outputs")
    child = sweeps.make_child(folder)
    with pytest.MonkeyPatch.context() as patch:
        sweeps.hurry(patch)
        patch.setattr("lm_eval_steer.sweep.board._REPORT", 0.0)  # scores are shown of few documents, too
        args = sweeps.make_args(
            child, folder / "sweep", tasks=list(TASKS), alpha=[1, 3], limit=None, controls="negated,self-consistency"
        )
        state = run_sweep(args, manager(), sweeps.QUIET)
    return child, state, folder / "sweep"


@pytest.mark.parametrize("task", TASKS)
def test_every_arm_has_the_scores_of_a_run_of_its_own(swept: Any, task: str, monkeypatch: pytest.MonkeyPatch) -> None:
    child, state, folder = swept
    sweeps.hurry(monkeypatch)
    tested = state["tasks"][task]["test"]
    assert {"baseline", "best", "negated best"} <= tested.keys()
    # What hf draws hangs on all that was drawn before, what a sweep draws on the request alone.
    for arm in ("baseline", "best", "negated best")[task == "repeated" :]:
        control = {"control": "negated"} if arm.startswith("negated") else {}
        alone: Any = lm_eval.simple_evaluate(
            model="steered-hf", model_args=child | {"alpha": tested[arm]["alpha"]} | control, tasks=[task],
            batch_size=32, device="cpu", task_manager=manager(), gen_kwargs={},
        )  # fmt: skip
        result = json.loads((folder / tested[arm]["result"]).read_text())["results"][task]
        ours = {key: value for key, value in result.items() if "," in key and "stderr" not in key}
        theirs = {key: value for key, value in alone["results"][task].items() if key in ours}
        assert ours
        assert ours == pytest.approx(theirs, abs=1e-4, rel=1e-4), arm


def test_the_leaderboard_has_a_row_for_each_and_says_what_has_no_vote(swept: Any) -> None:
    board = read_leaderboard([swept[2]])
    assert {row.group.task for row in board.rows} == set(TASKS)  # what has no score has no row
    told = " ".join(board.notes)
    for task, reason in NOT_VOTING.items():
        assert re.search(rf"{task} has no vote: [^:]*{re.escape(reason)}", told)


@pytest.mark.parametrize("task", TASKS)
def test_where_nothing_can_be_voted_on_there_is_no_vote_and_the_reason(swept: Any, task: str) -> None:
    _, state, _ = swept
    found = state["tasks"][task]
    assert ("vote" in found["test"]) == ("negated vote" in found["test"]) == (task in VOTING)
    assert NOT_VOTING.get(task, "") in found["refused"].get("vote", "")
    assert all(arm["no_score"] is None for arm in found["test"].values())
    assert ("self-consistency" in found["test"]) == (task == "repeated")
    assert set(found["validation"]["scores"]) == {"vector", "negated"}
    assert set(found["validation"]["scores"]["vector"]) == {"0", "1", "3"}


def test_rows_that_a_class_of_its_own_may_take_for_shots_are_no_validation_documents() -> None:
    def facts(shots: int) -> dict[str, Any]:
        return find_twins(["shown"], [], manager(), HarnessArgs(num_fewshot=shots))["shown"].facts

    assert (facts(0)["kind"], facts(0)["validation"]["n"]) == ("split", 5)
    assert (facts(2)["kind"], facts(2)["validation"]["n"], facts(2)["test"]["n"]) == ("share", 5, 11)


@pytest.mark.parametrize(
    ("task", "more", "sentence"),
    [
        ("twice", {}, r"twice asks document 0 for loglikelihood of one prompt twice"),
        ("rolling", {"tokens": "last"}, r"tokens='last' has no meaning for loglikelihood_rolling"),
        ("rolling", {"arms": ["prompt=Be brief."]}, r"prompt='Be brief.', and rolling asks the same with it as with"),
        ("listed", {"vote_filter": "answer"}, r"vote_filter='answer' is no filter of listed"),
    ],
)
def test_what_cannot_be_asked_is_told_before_the_model(
    task: str, more: dict[str, Any], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SteeredHF, "__init__", lambda *_, **__: pytest.fail("the model is loaded"))
    arms = more.get("arms")
    told = {key: value for key, value in more.items() if key != "arms"}
    args = sweeps.make_args(sweeps.make_child(tmp_path) | told, tmp_path / "out", tasks=[task], arms=arms)
    with pytest.raises(SteeringError, match=sentence):
        run_sweep(args, manager(), sweeps.QUIET)


def test_scoring_that_fails_on_a_response_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweeps.hurry(monkeypatch)
    args = sweeps.make_args(sweeps.make_child(tmp_path), tmp_path / "out", tasks=["clumsy"], alpha=[1], limit=None)
    with pytest.raises(SteeringError, match=r"^the task clumsy:validation fails to score .* document 0 \(KeyError"):
        run_sweep(args, manager(), sweeps.QUIET)
