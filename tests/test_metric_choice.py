"""`--metric`: what the search chooses by, and what verdicts and tables are about."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lm_eval.tasks import TaskManager

import sweeps
from lm_eval_steer.compare.stats import read_together, score_interval
from lm_eval_steer.compare.stats.together import randomisation
from lm_eval_steer.compare.sweep_file import read_sweep
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.models.hf import SteeredHF
from lm_eval_steer.report.tables import read_leaderboard, render
from lm_eval_steer.sweep import run_sweep
from lm_eval_steer.sweep.harness import HarnessArgs
from lm_eval_steer.sweep.metric import resolve
from lm_eval_steer.sweep.score import find_metric
from lm_eval_steer.sweep.tasks import build, load
from runs import write_run, write_sweep

ALPHAS = (2.0, 5.0, 9.0)
OUTPUTS = Path(__file__).parent / "fixtures" / "outputs"


@pytest.fixture(scope="module")
def child(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return sweeps.make_child(tmp_path_factory.mktemp("child"))


@pytest.fixture(scope="module")
def told(child: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A sweep of sentiment_steer by log_odds, its second metric; and its arguments."""
    folder = tmp_path_factory.mktemp("told") / "sweep"
    args = {"tasks": ["sentiment_steer"], "alpha": list(ALPHAS), "limit": 6.0, "val_limit": 4.0, "metric": "log_odds"}
    sweeps.sweep(child, folder, **args)
    return folder, args


# The name


def test_a_metric_is_meant_by_its_name_or_with_its_filter() -> None:
    task = load("sentiment_steer", sweeps.manager())
    assert resolve(task, None) is None
    assert resolve(task, "log_odds") == resolve(task, " log_odds,none") == "log_odds,none"
    with pytest.raises(SteeringError, match=r"^--metric f1 is no metric of sentiment_steer: it has acc, .*log_odds"):
        resolve(task, "f1")
    with pytest.raises(SteeringError, match="--metric acc,strict is no metric"):
        resolve(task, "acc,strict")


def test_of_several_filters_the_first_is_meant_and_all_are_named(tmp_path: Path) -> None:
    filters = "".join(
        f"  - {{name: {name}, filter: [{{function: regex, regex_pattern: '{pattern}'}}, {{function: take_first}}]}}\n"
        for name, pattern in (("strict", "answer is (\\\\w+)"), ("loose", "(\\\\w+)"))
    )
    (tmp_path / "two.yaml").write_text(
        f"include: {sweeps.PARITY}/parity_steer.yaml\ntask: two\nfilter_list:\n{filters}", encoding="utf-8"
    )
    task = load("two", sweeps.own_manager({}, str(tmp_path)))
    assert resolve(task, "exact_match") == "exact_match,strict"
    assert resolve(task, "exact_match,loose") == "exact_match,loose"
    with pytest.raises(SteeringError, match="it has exact_match,strict; exact_match,loose"):
        resolve(task, "exact_match,other")


def test_a_metric_that_a_task_gives_without_declaring_it_is_known_from_a_right_answer(tmp_path: Path) -> None:
    (tmp_path / "score.py").write_text(
        "def both(doc, results):\n    return {'exact_match': 1.0, 'length': len(results[0]), 'words': results}\n"
        "def several(items):\n    return items\n"
    )
    (tmp_path / "own.yaml").write_text(
        f"include: {sweeps.PARITY}/parity_steer.yaml\ntask: own\nprocess_results: !function score.both\n"
        "metric_list:\n- {metric: exact_match, aggregation: mean, higher_is_better: true}\n"
        "- {metric: words, aggregation: !function score.several, higher_is_better: true}\n"
    )
    manager = sweeps.own_manager({}, str(tmp_path))
    requests = build("own", manager, None, 1, False, HarnessArgs())
    assert find_metric(requests) is None
    assert find_metric(requests, "length") == "length,remainder"
    with pytest.raises(SteeringError, match="it has exact_match, length, words"):
        find_metric(requests, "width")
    with pytest.raises(SteeringError, match="the metric words,remainder of own is not one number: name another metric"):
        find_metric(requests, "words")


def test_a_task_that_lacks_the_metric_is_told_before_the_model(
    child: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SteeredHF, "__init__", lambda *_, **__: pytest.fail("the model is loaded"))
    tasks = ["sentiment_steer", "parity_steer"]
    with pytest.raises(SteeringError, match=r"--metric log_odds is no metric of parity_steer: it has exact_match$"):
        sweeps.sweep(child, tmp_path, tasks=tasks, metric="log_odds")


# The search


def test_strengths_are_chosen_by_it_as_plain_runs_of_the_validation_documents_score(
    told: tuple[Path, dict[str, Any]], child: dict[str, Any]
) -> None:
    folder, _ = told
    state = read_sweep(folder / "sweep.json")
    assert state["settings"]["metric"] == "log_odds"
    validation = state["tasks"]["sentiment_steer"]["validation"]
    assert validation["metric"] == "log_odds,none"
    scores = {
        alpha: sweeps.single(child, "sentiment_steer_val", 4.0, alpha=alpha)["results"]["sentiment_steer_val"]
        for alpha in ALPHAS
    }
    found = validation["scores"]["vector"]
    assert {alpha: found[f"{alpha:g}"] for alpha in ALPHAS} == pytest.approx(
        {alpha: one["log_odds,none"] for alpha, one in scores.items()}
    )
    assert validation["best"]["vector"] == max(ALPHAS, key=lambda alpha: scores[alpha]["log_odds,none"])


def test_arms_are_judged_by_it_and_the_first_metric_is_carried_along(told: tuple[Path, dict[str, Any]]) -> None:
    folder, _ = told
    test = read_sweep(folder / "sweep.json")["tasks"]["sentiment_steer"]["test"]
    (path,) = (folder / "arms" / "sentiment_steer" / "best").rglob("results_*.json")
    written = json.loads(path.read_text(encoding="utf-8"))["results"]["sentiment_steer"]
    assert next(name for name in written if "," in name) == "acc,none"  # the result file is the harness's own
    best = test["best"]
    assert (best["metric"], best["score"]) == ("log_odds,none", written["log_odds,none"])
    assert best["metrics"]["acc,none"]["score"] == written["acc,none"]
    assert "log_odds,none" not in best["metrics"]
    board = read_leaderboard([folder])
    assert {entry["metric"] for entry in board.entries()} == {"log_odds,none"}
    assert "sentiment_steer, log_odds" in render(board, "markdown").replace("\\", "")
    by_acc = read_leaderboard([folder], metric="acc")
    assert {entry["metric"] for entry in by_acc.entries()} == {"acc,none"}


def test_a_finished_sweep_is_told_again_and_another_metric_is_another_sweep(
    told: tuple[Path, dict[str, Any]], child: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, args = told
    monkeypatch.setattr(SteeredHF, "__init__", lambda *_, **__: pytest.fail("the model is loaded"))
    assert sweeps.sweep(child, folder, **args) == read_sweep(folder / "sweep.json")
    with pytest.raises(SteeringError, match="holds a sweep with another metric: it has 'log_odds', this one None"):
        sweeps.sweep(child, folder, **(args | {"metric": None}))


def test_a_perplexity_is_searched_tested_and_judged_as_accuracy_is(
    child: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As lambada has it: its first metric is a score of documents together, of which less is better."""
    folder = tmp_path / "sweep"
    manager = TaskManager(include_path=str(OUTPUTS), include_defaults=False)
    args = sweeps.make_args(child, folder, tasks=["single"], alpha=[3.0, 9.0], limit=None, val_limit=None)
    found = run_sweep(args, manager, sweeps.QUIET)["tasks"]["single"]
    validation, best, before = found["validation"], found["test"]["best"], found["test"]["baseline"]
    assert (validation["metric"], validation["higher_is_better"]) == ("perplexity,none", False)
    scores = validation["scores"]["vector"]
    assert validation["best"]["vector"] == min((3.0, 9.0), key=lambda alpha: scores[f"{alpha:g}"])
    lists = [[one["perplexity"] for one in sweeps.samples(folder, arm, "single")] for arm in ("baseline", "best")]
    for entry, items in zip((before, best), lists, strict=True):
        assert entry["score"] == pytest.approx(np.exp(-np.mean(items)))
        assert entry["interval"] == pytest.approx(score_interval("perplexity", items))
    assert best["against_baseline"]["p"] == randomisation(read_together("perplexity", lists))
    assert list(best["metrics"]) == ["acc,none"]
    (row,) = read_leaderboard([folder]).entries()
    change = row["changes"]["best"]
    assert (row["metric"], change["mcnemar_p"]) == ("perplexity,none", best["against_baseline"]["p"])
    assert change["change"] == pytest.approx(best["score"] - before["score"])
    assert change["low"] <= change["change"] <= change["high"]
    monkeypatch.setattr(SteeredHF, "__init__", lambda *_, **__: pytest.fail("the model is loaded"))
    assert run_sweep(args, manager, sweeps.QUIET) == read_sweep(folder / "sweep.json")


# The leaderboard


def test_a_leaderboard_is_by_the_metric_that_is_named(tmp_path: Path) -> None:
    write_run(tmp_path / "a", [0.0, 1.0, 1.0], beside={"loss": [3.0, 2.0, 4.0]})
    write_run(tmp_path / "b", [1.0, 1.0, 1.0], beside={"loss": [2.0, 2.5, 1.0]}, alpha=1)
    write_run(tmp_path / "c", [1.0, 1.0, 1.0], task="other")
    for folder in "ab":
        (path,) = (tmp_path / folder).rglob("results_*.json")
        content = json.loads(path.read_text())
        path.write_text(json.dumps(content | {"higher_is_better": {"toy": {"loss": False}}}))
    board = read_leaderboard([tmp_path], metric="loss")
    (row,) = board.entries()
    assert (row["task"], row["metric"], row["higher_is_better"]) == ("toy", "loss,strict", False)
    assert (row["baseline"], row["changes"]["1"]["change"]) == (3.0, pytest.approx(-7 / 6))
    assert list(row["metrics"]) == ["exact_match,strict", "exact_match,loose"]
    assert any("other has no metric loss: it has exact_match,strict; exact_match,loose" in one for one in board.notes)
    with pytest.raises(SteeringError, match=r"toy has no metric f2: it has .*loss"):
        read_leaderboard([tmp_path / "a"], metric="f2")


def test_runs_beside_a_sweep_are_by_its_metric(tmp_path: Path) -> None:
    """Whatever its metric is, so that a plain run of the baseline is in the same group."""
    beside = {"baseline": {"odds": [0.0, 1.0]}, "best": {"odds": [2.0, 1.5]}}
    arms = {"baseline": (0.0, [0.0, 1.0]), "best": (1.0, [1.0, 1.0])}
    write_sweep(tmp_path / "sweep", arms, beside=beside, state={"settings": {"metric": "odds"}})
    write_run(tmp_path / "plain", [0.0, 1.0], beside={"odds": [0.5, 1.0]})
    board = read_leaderboard([tmp_path])
    assert {entry["metric"] for entry in board.entries()} == {"odds,strict"}
    assert len(board.groups) == 1
