"""lm-eval-steer sweep: what its arms say against single runs."""

from __future__ import annotations

import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import data
import models
import sweeps
from fixtures.parity.rule import answer, target
from lm_eval_steer.answers import NO_ANSWER
from lm_eval_steer.axis.record import read_lines
from lm_eval_steer.compare.arms import Arm
from lm_eval_steer.compare.runs import read_runs
from lm_eval_steer.compare.stats import mcnemar
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.models.hf import SteeredHF
from lm_eval_steer.sweep import run_sweep
from lm_eval_steer.sweep.arms import Member
from lm_eval_steer.sweep.harness import HarnessArgs
from lm_eval_steer.sweep.replay import write_arm
from lm_eval_steer.sweep.score import choose
from lm_eval_steer.sweep.tasks import build, find_twins
from sweeps import ALPHAS, CONTROLS, SMALL, make_args, responses, single, sweep, texts

pytestmark = pytest.mark.usefixtures("hurried")


@pytest.fixture(scope="module")
def done(child: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A sweep of three strengths and four controls, undisturbed."""
    folder = tmp_path_factory.mktemp("sweep")
    with pytest.MonkeyPatch.context() as patch:
        sweeps.hurry(patch)
        return folder, sweep(child, folder, controls=CONTROLS)


@pytest.fixture(scope="module")
def singles(child: dict[str, Any]) -> dict[float, dict[str, Any]]:
    """Single test runs, one per strength."""
    with pytest.MonkeyPatch.context() as patch:
        sweeps.hurry(patch)
        return {alpha: single(child, alpha=alpha) for alpha in (0.0, *ALPHAS)}


def test_strengths_are_searched_on_validation_rows_as_single_runs_score_them(
    child: dict[str, Any], done: tuple[Path, dict[str, Any]]
) -> None:
    found = done[1]["tasks"]["parity_steer"]["validation"]
    expected = {}
    for name, alpha in [("0", 0), *((f"{alpha:g}", alpha) for alpha in ALPHAS)]:
        results = single(child, "parity_steer_val", 6.0, alpha=alpha)
        expected[name] = results["results"]["parity_steer_val"]["exact_match,remainder"]
    assert found["scores"]["vector"] == expected
    assert len(set(expected.values())) > 1
    best = max(ALPHAS, key=lambda alpha: (expected[f"{alpha:g}"], -alpha))
    assert (found["best"]["vector"], found["task"], found["n"]) == (best, "parity_steer_val", 6)
    assert set(found["scores"]) == set(found["best"]) == {"vector", "random:1", "negated"}
    negated = single(child, "parity_steer_val", 6.0, alpha=1, control="negated")
    assert found["scores"]["negated"]["1"] == negated["results"]["parity_steer_val"]["exact_match,remainder"]


def test_baseline_and_best_are_the_single_runs(
    done: tuple[Path, dict[str, Any]], singles: dict[float, dict[str, Any]]
) -> None:
    folder, state = done
    best = state["tasks"]["parity_steer"]["validation"]["best"]["vector"]
    for arm, alpha in (("baseline", 0.0), ("best", best)):
        assert responses(folder, arm) == texts(singles[alpha])
        entry = state["tasks"]["parity_steer"]["test"][arm]
        assert entry["score"] == singles[alpha]["results"]["parity_steer"]["exact_match,remainder"]
        assert (entry["alpha"], entry["responses"], entry["n"]) == (alpha, 8, 8)


def test_a_baseline_is_plain_under_an_operator_that_acts_at_strength_0(
    child: dict[str, Any], singles: dict[float, dict[str, Any]], tmp_path: Path
) -> None:
    set_to = child | {"operator": "set"}
    before = sweep(set_to, tmp_path / "out", alpha=[1], val_limit=2.0)
    assert responses(tmp_path / "out", "baseline") == texts(singles[0.0])
    (path,) = (tmp_path / "out" / "arms" / "parity_steer" / "baseline").rglob("results_*.json")
    config = json.loads(path.read_text(encoding="utf-8"))["config"]
    assert config["model_args"] == set_to | {"alpha": 0.0, "operator": "add"}
    assert not config["steering"]["steers"]
    assert texts(single(set_to, alpha=0)) != texts(singles[0.0])
    again = sweep(set_to, tmp_path / "out", alpha=[1], val_limit=2.0)
    for name, log in again["tasks"]["parity_steer"]["passes"].items():
        assert log["new"] == before["tasks"]["parity_steer"]["passes"][name]["new"]


def vote_by_hand(of_alphas: list[list[str]]) -> list[str]:
    """Per document the earliest response with the most frequent answer; without any answer the first."""
    chosen = []
    for document in zip(*of_alphas, strict=True):
        answers = [answer(text) for text in document]
        counts = Counter(one for one in answers if one != NO_ANSWER)
        if not counts:
            chosen.append(document[0])
            continue
        most = max(counts.values())
        chosen.append(next(t for t, one in zip(document, answers, strict=True) if counts.get(one) == most))
    return chosen


def test_the_vote_is_that_over_single_runs(
    done: tuple[Path, dict[str, Any]], singles: dict[float, dict[str, Any]]
) -> None:
    folder, state = done
    expected = vote_by_hand([texts(singles[alpha]) for alpha in ALPHAS])
    assert responses(folder, "vote") == expected
    assert all(expected != texts(singles[alpha]) for alpha in ALPHAS)
    documents = [sample["doc"] for sample in singles[0.0]["samples"]["parity_steer"]]
    right = [answer(text) == target(doc) for text, doc in zip(expected, documents, strict=True)]
    before = [sample["exact_match"] == 1 for sample in singles[0.0]["samples"]["parity_steer"]]
    entry = state["tasks"]["parity_steer"]["test"]["vote"]
    assert entry["score"] == sum(right) / 8
    against = entry["against_baseline"]
    assert (against["gained"], against["lost"], against["p"]) == mcnemar(before, right)
    assert (entry["responses"], entry["skipped"], entry["alpha"]) == (24, 0, list(ALPHAS))


def test_result_files_are_those_of_runs_of_their_own(child: dict[str, Any], done: tuple[Path, dict[str, Any]]) -> None:
    """All that the harness writes but dates and measurements; also for a control."""
    folder, state = done
    volatile = {"date", "config", "samples"}
    for arm, changes in (
        ("vote", {"alpha": list(ALPHAS)}),
        (
            "negated_best",
            {"alpha": state["tasks"]["parity_steer"]["validation"]["best"]["negated"], "control": "negated"},
        ),
    ):
        (path,) = (folder / "arms" / "parity_steer" / arm).rglob("results_*.json")
        content = json.loads(path.read_text(encoding="utf-8"))
        alone = json.loads(json.dumps(single(child, **changes, record=str(folder / "record")), default=str))
        for key in alone.keys() - volatile:
            assert content[key] == alone[key], key
        config, expected = content["config"], alone["config"]
        assert config["model_args"] == child | changes
        assert (config["model"], content["model_name"]) == ("steered-hf", child["pretrained"])
        for one in (config, expected):
            one["steering"].pop("doses")
            one["steering"].pop("application")
            one.pop("model_args")
        assert (config.pop("bootstrap_iters"), expected.pop("bootstrap_iters")) == (1000, 100_000)
        assert config == expected


def test_controls_are_arms_with_files_of_their_own(child: dict[str, Any], done: tuple[Path, dict[str, Any]]) -> None:
    folder, state = done
    arms = {path.name for path in (folder / "arms" / "parity_steer").iterdir()}
    assert arms == {
        "baseline", "best", "vote", "random-1_best", "random-1_vote", "negated_best", "negated_vote", "identity",
        "self-consistency",
    }  # fmt: skip
    test = state["tasks"]["parity_steer"]["test"]
    assert [arm.replace(":", "-").replace(" ", "_") for arm in test] != list(test)
    for name, arm in test.items():
        (run,) = read_runs([(folder / arm["result"]).parent])
        control = ":".join(map(str, filter(None, (arm["control"], arm["seed"])))) or None
        assert (run.steering["control"], len(run.samples)) == (control, 8), name
    assert responses(folder, "identity") == responses(folder, "baseline")
    assert responses(folder, "random-1_best") == texts(
        single(child, alpha=test["random:1 best"]["alpha"], control="random:1")
    )
    drawn = [line for line in read_lines(folder / "record") if line.variant.startswith("self-consistency")]
    assert len(drawn) == 24 == test["self-consistency"]["responses"]
    assert test["self-consistency"]["tokens"] == sum(line.tokens or 0 for line in drawn)


def test_doses_of_the_pass_are_in_the_result_files(done: tuple[Path, dict[str, Any]]) -> None:
    folder, state = done
    found = state["tasks"]["parity_steer"]
    for arm, alphas in (("best", [found["test"]["best"]["alpha"]]), ("vote", ALPHAS)):
        (run,) = read_runs([folder / "arms" / "parity_steer" / arm])
        assert list(run.steering["doses"]) == [f"{alpha:g}" for alpha in alphas]
        assert run.steering["application"]["steered"] == run.steering["application"]["implied"]
        assert sum(run.steering["application"]["steered"].values()) > 0
    assert found["test"]["vote"]["doses"]["0.5"]["blocks"] == models.DEPTH
    assert found["test"]["baseline"]["doses"] == {}


def test_one_pass_per_split_and_every_response_once(done: tuple[Path, dict[str, Any]]) -> None:
    folder, state = done
    passes = state["tasks"]["parity_steer"]["passes"]
    new = {name: {of: share["new"] for of, share in log["contenders"].items()} for name, log in passes.items()}
    assert new == {
        "parity_steer_val": {"vector": 24, "random:1": 18, "negated": 18},
        "parity_steer": {"vector": 32, "random:1": 24, "negated": 24, "self-consistency": 24},
        "parity_steer, identity": {"identity": 8},
    }
    lines = sum(path.read_text(encoding="utf-8").count('"kind":"generation"') for path in (folder / "record").iterdir())
    assert lines == sum(log["new"] for log in passes.values()) == sum(sum(of.values()) for of in new.values())


def test_early_stop_leaves_the_same_arms_with_fewer_responses(child: dict[str, Any], tmp_path: Path) -> None:
    small: dict[str, Any] = {"alpha": [1e-4, 2e-4, 2], "controls": "random:1", "limit": 4.0, "val_limit": 3.0}
    whole = sweep(child, tmp_path / "whole", **small)
    stopped = sweep(child | {"vote_early_stop": True}, tmp_path / "stopped", **small)
    saved = 0
    for arm in ("baseline", "best", "vote", "random:1 best", "random:1 vote"):
        name = arm.replace(":", "-").replace(" ", "_")
        assert responses(tmp_path / "stopped", name) == responses(tmp_path / "whole", name)
        full, short = (one["tasks"]["parity_steer"]["test"][arm] for one in (whole, stopped))
        assert short["responses"] + short["skipped"] == full["responses"]
        saved += short["skipped"]
    assert saved > 0


def test_a_replay_never_runs_the_model(child: dict[str, Any], tmp_path: Path) -> None:
    args = make_args(child, tmp_path)
    lm = SteeredHF(**child, alpha=0.5, record=str(tmp_path / "record"), device="cpu")
    member = Member(Arm("best"), args.contenders[0], (0.5,))
    test = build("parity_steer", sweeps.manager(), lm, 8, False)
    with pytest.raises(SteeringError, match=r"^the record .*record lacks \d+ of the responses that are asked for"):
        write_arm(lm, member, lm.plan, tmp_path / "best", args, test, sweeps.manager(), None)
    assert not (tmp_path / "best").exists()


def test_tasks_and_facts_are_looked_up_once(
    child: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """And git is not heard to say that the folder is no repository."""
    read, asked, load = [], [], HarnessArgs.load

    def count(harness: HarnessArgs, name: str, manager: Any) -> Any:
        read.append(name)
        return load(harness, name, manager)

    monkeypatch.setattr(HarnessArgs, "load", count)
    monkeypatch.setattr("torch.utils.collect_env.get_pretty_env_info", lambda: asked.append("machine") or "a machine")
    monkeypatch.chdir(tmp_path)
    sweep(child, tmp_path / "out", **SMALL, controls="negated")
    assert sorted(read) == ["parity_steer", "parity_steer_val"]
    assert asked == ["machine"]
    assert "repository" not in capfd.readouterr().err
    for path in (tmp_path / "out").rglob("results_*.json"):
        content = json.loads(path.read_text(encoding="utf-8"))
        assert (content["pretty_env_info"], content["git_hash"]) == ("a machine", None)


@pytest.mark.parametrize(
    ("scores", "higher", "best"),
    [
        ({0.5: 0.2, 1.0: 0.3, 2.0: 0.3}, True, 1.0),
        ({0.5: 0.2, 1.0: 0.2, 2.0: 0.2}, True, 0.5),
        ({0.5: 0.2, -0.5: 0.2}, True, 0.5),
        ({0.5: 0.4, 1.0: 0.3, 2.0: 0.3}, False, 1.0),
        ({0.5: float("nan"), 1.0: 0.0}, True, 1.0),
        ({0.5: float("nan"), 1.0: float("nan")}, True, 0.5),
        ({0.5: float("inf"), 1.0: 0.0, 2.0: None}, True, 1.0),
        ({0.5: float("-inf"), 1.0: 0.5}, False, 1.0),
    ],
)
def test_ties_go_to_the_smallest_strength(scores: dict[float, float], higher: bool, best: float) -> None:
    assert choose(scores, higher) == best


# Strengths by block


def test_strengths_by_block_are_searched_on_validation_rows_and_tested(child: dict[str, Any], tmp_path: Path) -> None:
    state = sweep(child, tmp_path, per_layer="coordinate", budget=7, limit=4.0, controls="negated")
    found = state["tasks"]["parity_steer"]
    best = found["validation"]["best"]["vector"]
    layers = found["per_layer"]["vector"]
    assert set(found["per_layer"]) == {"vector", "negated"}
    assert 3 < len(layers["history"]) <= 7
    assert layers["history"][0] == [[1.0] * models.DEPTH, found["validation"]["scores"]["vector"][f"{best:g}"]]
    assert layers["score"] == max(score for _, score in layers["history"])
    for profile, score in layers["history"][2:4]:
        alone = single(child, "parity_steer_val", 6.0, alpha=best, alpha_per_layer=profile)
        assert alone["results"]["parity_steer_val"]["exact_match,remainder"] == score
    assert layers["profile"] in [profile for profile, score in layers["history"] if score == layers["score"]]
    alone = single(child, limit=4.0, alpha=best, alpha_per_layer=layers["profile"])
    assert responses(tmp_path, "per-layer") == texts(alone)
    assert list(found["test"])[3:] == ["per-layer", "negated best", "negated vote", "negated per-layer"]


# Other tasks


def test_multiple_choice(child: dict[str, Any], tmp_path: Path) -> None:
    out = io.StringIO()
    (tmp_path / "data").mkdir()
    with data.provided(tmp_path / "data"):
        args = make_args(
            child, tmp_path / "out", tasks=["arc_challenge_steer_mc"], alpha=[5, 20], limit=3.0, val_limit=1.0,
            controls="self-consistency",
        )  # fmt: skip
        state = run_sweep(args, sweeps.manager(), Console(file=out, width=200))
        alone = single(child, "arc_challenge_steer_mc", 3.0, alpha=[5, 20], record=str(tmp_path / "alone"))
    found = state["tasks"]["arc_challenge_steer_mc"]
    assert list(found["test"]) == ["baseline", "best", "vote"]
    assert found["test"]["vote"]["score"] == alone["results"]["arc_challenge_steer_mc"]["acc,none"]
    assert found["validation"]["metric"] == "acc,none"
    assert found["test"]["best"]["tokens"] is None
    assert "multiple choice has none" in found["refused"]["self-consistency"]
    assert "multiple choice has none" in out.getvalue()


def test_twins(tmp_path: Path) -> None:
    with data.provided(tmp_path):
        found = find_twins(["math500_steer", "gsm8k_steer"], [], sweeps.manager())
        assert {name: (twin.name, twin.facts["kind"]) for name, twin in found.items()} == {
            "math500_steer": ("math_steer_val", "twin"),
            "gsm8k_steer": ("gsm8k_steer_val", "twin"),
        }
        found = find_twins(["arith_steer"], ["gsm8k_steer_val"], sweeps.manager())
        assert {name: twin.name for name, twin in found.items()} == {"arith_steer": "gsm8k_steer_val"}
