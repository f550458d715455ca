"""A race of strengths: what leaves it, with which risk, and that a sweep that races chooses as a full search does."""

from __future__ import annotations

import importlib.resources
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from lm_eval.api.metrics import mean
from lm_eval.tasks import TaskManager
from scipy.stats import ttest_rel

from lm_eval_steer.compare.counts import count_of, on_validation_rows
from lm_eval_steer.compare.groups import Group
from lm_eval_steer.compare.rows import Row
from lm_eval_steer.compare.runs import read_runs
from lm_eval_steer.compare.stats.race import Race, excluded, rounds_of
from lm_eval_steer.compare.sweeps import part_of
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.sweep import make_notes, run_sweep
from lm_eval_steer.sweep import work as sweep_work
from lm_eval_steer.sweep.arms import chosen
from lm_eval_steer.sweep.race import search_by_race
from lm_eval_steer.sweep.requests import Requests
from lm_eval_steer.sweep.score import Score
from sweeps import OUTPUTS, QUIET, differences, make_args, outcome, own_manager

RACED = Path(__file__).parent / "fixtures" / "raced"
FOR_RACE: dict[str, Any] = {"tasks": ["raced_steer"], "alpha": [1, 2, 20, 40], "val_limit": 40.0, "limit": 2.0}


def test_rounds_double_and_end_with_all_documents() -> None:
    assert rounds_of(100) == (16, 32, 64, 100)
    assert rounds_of(17) == (16, 17)
    assert rounds_of(16) == (16,)
    assert rounds_of(3) == (3,)


def test_right_and_wrong_by_hand() -> None:
    """One round and two challengers: each is excluded at 2.5 %, five losses without a gain have 2^-5, six 2^-6."""
    scores = np.ones((3, 16))
    scores[1, :5] = 0
    scores[2, :6] = 0
    race = Race(3, 16)
    race.judge(scores)
    assert (race.left, race.documents, race.is_open) == ([0, 1], [16, 16, 16], True)
    with_a_gain = np.ones((2, 16))
    with_a_gain[0, 0] = 0
    with_a_gain[1, 1:8] = 0  # seven losses and one gain: 9 / 2^8 = 3.5 %
    assert excluded(with_a_gain, 0.036).tolist() == [False, True]
    assert excluded(with_a_gain, 0.035).tolist() == [False, False]


def test_other_numbers_by_the_paired_t_test() -> None:
    scores = np.random.default_rng(0).normal(size=(4, 30)) + np.array([[0.0], [0.3], [0.9], [1.0]])
    leader = scores.mean(axis=1).argmax()
    others = [place for place in range(4) if place != leader]
    ps = [float(ttest_rel(scores[place], scores[leader], alternative="less").pvalue) for place in others]
    for level in (min(ps) * 0.999, min(ps) * 1.001, 0.05, max(ps) * 1.001):
        assert [bool(excluded(scores, level)[place]) for place in others] == [p <= level for p in ps]
    assert not excluded(scores[:, :1], 0.05).any()


def test_what_is_equal_stays_and_what_has_no_number_leaves() -> None:
    assert not excluded(np.full((3, 50), 0.7), 0.05).any()
    scores = np.array([[0.5, 0.25], [np.nan, 1.0], [np.inf, 1.0]])
    assert excluded(scores, 0.05).tolist() == [False, True, True]
    assert not excluded(np.full((2, 2), np.nan), 0.05).any()


@pytest.mark.parametrize("kind", ["right or wrong", "numbers"])
def test_the_best_is_lost_as_seldom_as_promised(kind: str) -> None:
    """600 races of six strengths of which one is better by a hair; documents are easy or hard for all of them."""
    rng = np.random.default_rng(1)
    lost = dropped = 0
    for _ in range(600):
        ease, gain = rng.uniform(0.2, 0.8, 120), np.array([0.0, 0.0, 0.0, 0.0, -0.4, 0.01])[:, None]
        if kind == "numbers":
            scores = ease + gain + rng.normal(scale=0.3, size=(6, 120))
        else:
            scores = (rng.uniform(size=(6, 120)) < np.clip(ease + gain, 0, 1)).astype(float)
        race = Race(6, 120)
        for size in race.rounds:
            if race.is_open:
                race.judge(scores[race.left, :size])
        lost += 5 not in race.left
        dropped += race.documents[4] < 120
    assert lost <= 0.05 * 600
    assert dropped > 0.9 * 600  # and the bad one costs less than all documents


class Told:
    """Passes over responses that are known: contender -> strength -> document -> score."""

    def __init__(self, scores: dict[str, dict[float, list[float]]]) -> None:
        self.scores, self.asked, self.scorer = scores, [], self
        self.now: list[int] = []

    def __call__(self, part: Requests, running: Mapping[str, tuple[float, ...]], number: int) -> tuple[Any, Any]:
        self.now = [int(one.doc_id or 0) for one in part.instances]
        self.asked.append({name: (len(self.now), alphas) for name, alphas in running.items()})
        return self, [(name, SimpleNamespace(alphas=alphas)) for name, alphas in running.items()]

    def answers(self, name: str, plan: Any) -> Iterator[Any]:
        for alpha in plan.alphas:
            yield SimpleNamespace(metrics={one: {"acc,none": self.scores[name][alpha][one]} for one in self.now})

    def value(self, answers: Any) -> Score:
        found = [one["acc,none"] for one in answers.metrics.values()]
        return Score("acc,none", sum(found) / len(found), len(found))

    def higher_is_better(self, score: Score) -> bool:
        return True


def test_contenders_race_by_themselves_in_shared_rounds() -> None:
    """One has a strength that fails and two that are equal; of the other all but one fail at once."""
    n = 40
    half, none, whole = [float(i % 2) for i in range(n)], [0.0] * n, [1.0] * n
    told = Told({"vector": {1.0: half, 2.0: half, 3.0: none}, "random:1": {1.0: none, 2.0: whole, 3.0: none}})
    task = SimpleNamespace(aggregation=lambda: {"acc": mean})
    requests = Requests(task, "toy_val", [SimpleNamespace(doc_id=i) for i in range(n)])  # type: ignore[misc]
    contenders: Any = [SimpleNamespace(name=name) for name in told.scores]
    found = search_by_race(requests, contenders, (1.0, 2.0, 3.0), 0, told)
    assert told.asked[0] == {"vector": (16, (1.0, 2.0, 3.0)), "random:1": (16, (1.0, 2.0, 3.0))}
    assert all("random:1" not in one for one in told.asked[1:])
    assert told.asked[-1] == {"vector": (40, (1.0, 2.0))}
    assert found["documents"]["random:1"] == {"1": 16, "2": 16, "3": 16}
    assert (
        found["documents"]["vector"]["1"] == found["documents"]["vector"]["2"] == 40 > found["documents"]["vector"]["3"]
    )
    assert found["best"] == {"vector": 1.0, "random:1": 2.0}  # of equal ones the smallest
    assert (found["scores"]["vector"]["1"], found["n"], found["metric"]) == (0.5, 40, "acc,none")


@pytest.fixture(scope="module")
def tasks() -> TaskManager:
    ours = str(importlib.resources.files("lm_eval_steer.tasks"))
    return TaskManager(include_path=[ours, str(RACED)], include_defaults=False)


@pytest.fixture(scope="module")
def both(
    child: dict[str, Any], tasks: TaskManager, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[Path, dict[str, Any]]]:
    """A sweep by each search."""
    found = {}
    for search in ("full", "race"):
        folder = tmp_path_factory.mktemp(search)
        found[search] = folder, run_sweep(make_args(child, folder, search=search, **FOR_RACE), tasks, QUIET)
    return found


def test_a_race_chooses_as_the_full_search_with_fewer_responses(both: dict[str, tuple[Path, dict[str, Any]]]) -> None:
    full, race = (both[search][1]["tasks"]["raced_steer"] for search in ("full", "race"))
    scores, raced = (one["validation"]["scores"]["vector"] for one in (full, race))
    assert min(scores["1"], scores["2"]) > 0.5 > 0.1 > max(scores["20"], scores["40"])
    assert race["validation"]["best"] == full["validation"]["best"]
    documents = race["validation"]["documents"]["vector"]
    assert max(documents["20"], documents["40"]) < 40
    assert [raced[alpha] for alpha in scores if documents[alpha] == 40] == [
        scores[alpha] for alpha in scores if documents[alpha] == 40
    ]
    asked = sum(documents.values())
    assert asked == sum(log["new"] for name, log in race["passes"].items() if "round" in name)
    assert full["passes"]["raced_steer_val"]["new"] == 200
    assert race["test"]["best"]["score"] == full["test"]["best"]["score"]
    (note,) = (one for one in make_notes("raced_steer", race) if "race" in one.split()[:2])
    assert note.startswith(f"the race on raced_steer_val took {asked} of the 200 responses of a full search: ")
    assert not any("race on" in one for one in make_notes("raced_steer", full))


def test_counts_of_a_race_know_their_documents(both: dict[str, tuple[Path, dict[str, Any]]]) -> None:
    """The figure of the strengths has the interval of the documents that each was scored on."""
    folder, state = both["race"]
    validation = state["tasks"]["raced_steer"]["validation"]
    runs = {part.arm: run for run in read_runs([folder]) if (part := part_of(run.path, run.task))}
    parts = {arm: part for arm, run in runs.items() if (part := part_of(run.path, run.task))}
    row = Row("child", "-", "-", Group("raced_steer", "A", []), None, runs, folder, parts)
    counted = on_validation_rows(row)
    assert counted is not None
    for alpha, count in counted[1][0][1].items():
        n = validation["documents"]["vector"][f"{alpha:g}"]
        assert count == count_of(validation["scores"]["vector"][f"{alpha:g}"], n)
        assert count.n == n


def test_a_race_goes_on_where_it_was_killed_and_ends_once(
    child: dict[str, Any],
    tasks: TaskManager,
    both: dict[str, tuple[Path, dict[str, Any]]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    args = make_args(child, tmp_path, search="race", **FOR_RACE)
    run_pass, seen = sweep_work.run_pass, []

    def killed(lm: Any, asked: Any, requests: Any, title: str, *others: Any) -> Any:
        seen.append(title)
        if "round 2" in title:
            raise KeyboardInterrupt
        return run_pass(lm, asked, requests, title, *others)

    with monkeypatch.context() as patch:
        patch.setattr(sweep_work, "run_pass", killed)
        with pytest.raises(KeyboardInterrupt):
            run_sweep(args, tasks, QUIET)
    assert seen == ["raced_steer_val, round 1", "raced_steer_val, round 2"]
    run_sweep(args, tasks, QUIET)
    assert not differences(outcome(tmp_path), outcome(both["race"][0]))
    monkeypatch.setattr(sweep_work.SweepOfModel, "run", None)  # a finished one is told without its model
    assert run_sweep(args, tasks, QUIET)["complete"]
    with pytest.raises(SteeringError, match=r"holds a sweep with another search: it has 'race', this one None"):
        run_sweep(make_args(child, tmp_path, **FOR_RACE), tasks, QUIET)


def test_a_score_that_was_ahead_early_is_not_chosen(child: dict[str, Any], tmp_path: Path) -> None:
    """Only the strengths with the most documents are chosen from, also when a finished sweep is checked."""
    args = make_args(child, tmp_path, alpha=[1, 2, 3])
    validation = {
        "scores": {"vector": {"1": 0.5, "2": 0.9, "3": 0.4}},
        "documents": {"vector": {"1": 100, "2": 16, "3": 100}},
        "best": {"vector": 1.0},
        "higher_is_better": True,
    }
    assert chosen(args, validation, args.contenders[0]) == 1.0
    assert chosen(args, validation | {"documents": None}, args.contenders[0]) is None


def test_what_a_race_refuses(child: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(SteeringError, match=r"^--search fast is no search: use one of full, race$"):
        make_args(child, tmp_path, search="fast")
    with pytest.raises(SteeringError, match=r"by their score alone, and --choose effect@cost=0.1 by their cost, too"):
        make_args(child, tmp_path, search="race", choose="effect@cost=0.1", cost="arc_challenge_steer")
    with pytest.raises(SteeringError, match=r"^--search race takes a vector, and the sweep has none"):
        make_args({"pretrained": child["pretrained"]}, tmp_path, search="race", alpha=None, arms=["prompt=Think."])
    groups = own_manager({}, str(RACED.parent / "groups"))
    with pytest.raises(SteeringError, match=r"^--search race compares documents of one task, and group_even is"):
        run_sweep(make_args(child, tmp_path, search="race", tasks=["group_even"]), groups, QUIET)
    outputs = own_manager({}, str(OUTPUTS))
    with pytest.raises(SteeringError, match=r"word_perplexity of rolling is a score of all of them together"):
        run_sweep(make_args(child, tmp_path, search="race", tasks=["rolling"]), outputs, QUIET)
