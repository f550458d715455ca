"""lm-eval-steer sweep: what its arms say against single runs, and what is left of it when it is killed."""

from __future__ import annotations

import dataclasses
import errno
import io
import json
import os
import random
import re
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lm_eval
import pytest
from lm_eval._cli.harness import HarnessCLI
from lm_eval.api.task import ConfigurableTask
from lm_eval.tasks import TaskManager
from rich.console import Console

import data
import models
import sweeps
from conftest import make_vector
from fixtures.parity.rule import answer, target
from lm_eval_steer.answers import NO_ANSWER
from lm_eval_steer.axis.record import VOLATILE, Line, read_lines
from lm_eval_steer.cli.main import main, make_parser
from lm_eval_steer.compare.runs import read_runs
from lm_eval_steer.compare.stats import mcnemar
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.models.hf import SteeredHF
from lm_eval_steer.sweep import SweepArgs, make_notes, make_table, run_sweep
from lm_eval_steer.sweep.arms import Arm, write_arm
from lm_eval_steer.sweep.board import Board
from lm_eval_steer.sweep.harness import HarnessArgs, read_seeds
from lm_eval_steer.sweep.score import Scorer, choose
from lm_eval_steer.sweep.state import without_volatile
from lm_eval_steer.sweep.tasks import build, find_twins

ALPHAS = (0.5, 1.0, 2.0)
CONTROLS = "random:1,negated,identity,self-consistency"
QUIET = Console(file=io.StringIO())


@pytest.fixture(scope="module")
def child(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """model_args of a tiny model and a vector."""
    folder = tmp_path_factory.mktemp("child")
    vector = make_vector().save(folder / "random.pt")
    return {"pretrained": str(models.save_model(folder / "m", "llama")), "vectors": str(vector), "max_length": 4096}


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    sweeps.hurry(monkeypatch)


def make_args(child: dict[str, Any], folder: Path, **changes: Any) -> SweepArgs:
    wanted: dict[str, Any] = {
        "model": "steered-hf", "model_args": child, "tasks": ["parity_steer"], "output_path": str(folder),
        "alpha": list(ALPHAS), "limit": 8.0, "val_limit": 6.0, "batch_size": 32, "device": "cpu",
    }  # fmt: skip
    return SweepArgs(**(wanted | changes))


def sweep(child: dict[str, Any], folder: Path, **changes: Any) -> dict[str, Any]:
    return run_sweep(make_args(child, folder, **changes), sweeps.manager(), QUIET)


@pytest.fixture(scope="module")
def done(child: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A sweep of three strengths and four controls, undisturbed."""
    folder = tmp_path_factory.mktemp("sweep")
    with pytest.MonkeyPatch.context() as patch:
        sweeps.hurry(patch)
        return folder, sweep(child, folder, controls=CONTROLS)


def single(child: dict[str, Any], task: str = "parity_steer", limit: float = 8.0, **changes: Any) -> dict[str, Any]:
    """A run of its own, without a record, as lm_eval does it."""
    return lm_eval.simple_evaluate(
        model="steered-hf", model_args=child | changes, tasks=[task], limit=limit, batch_size=32, device="cpu",
        task_manager=sweeps.manager(), gen_kwargs={},
    )  # type: ignore[return-value]  # fmt: skip


def texts(results: dict[str, Any], task: str = "parity_steer") -> list[str]:
    return [sample["resps"][0][0] for sample in results["samples"][task]]


def samples(folder: Path, arm: str, task: str = "parity_steer") -> list[dict[str, Any]]:
    (path,) = (folder / "arms" / task / arm).rglob("samples_*.jsonl")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def responses(folder: Path, arm: str) -> list[str]:
    return [sample["resps"][0][0] for sample in samples(folder, arm)]


@pytest.fixture(scope="module")
def singles(child: dict[str, Any]) -> dict[float, dict[str, Any]]:
    """Single test runs, one per strength."""
    with pytest.MonkeyPatch.context() as patch:
        sweeps.hurry(patch)
        return {alpha: single(child, alpha=alpha) for alpha in (0.0, *ALPHAS)}


# Arms against single runs


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
        assert (run.steering["control"], len(run.samples)) == (arm["control"], 8), name
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
    new = {name: log["new"] for name, log in state["tasks"]["parity_steer"]["passes"].items()}
    assert new == {
        "parity_steer_val, vector": 24, "parity_steer, vector": 32,
        "parity_steer_val, random:1": 18, "parity_steer, random:1": 24,
        "parity_steer_val, negated": 18, "parity_steer, negated": 24,
        "parity_steer, identity": 8, "parity_steer, self-consistency": 24,
    }  # fmt: skip
    lines = sum(path.read_text(encoding="utf-8").count('"kind":"generation"') for path in (folder / "record").iterdir())
    assert lines == sum(new.values())


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
    arm = Arm("best", lm.plan, {"alpha": 0.5})
    with pytest.raises(SteeringError, match="the record lacks responses of best"):
        write_arm(lm, arm, "parity_steer", tmp_path / "best", args, sweeps.manager(), None)
    assert not (tmp_path / "best").exists()
    assert lm.write.__func__ is SteeredHF.write  # given back


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


# The arguments of lm_eval

OWN = Path(__file__).parent / "fixtures" / "own"
TEMPLATE = "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}<assistant>"


@pytest.fixture(scope="module")
def talker(child: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The same with a chat template that has a name."""
    folder = models.save_model(tmp_path_factory.mktemp("talker") / "m", "llama")
    models.make_tokenizer({"default": TEMPLATE, "tools": TEMPLATE}).save_pretrained(folder)  # type: ignore[arg-type]
    return child | {"pretrained": str(folder)}


def own_manager(metadata: dict[str, Any], include_path: str | None = None) -> TaskManager:
    """As the harness's command makes it, without the harness's own tasks, whose scan takes seconds."""
    paths = [*sweeps.manager().include_path, *([include_path] if include_path else [])]
    return TaskManager(include_path=paths, include_defaults=False, metadata=metadata)


SHOTS = {"num_fewshot": 3, "seed": [0, 1, 2, 7], "system_instruction": "Think.", "metadata": {"length": 3}}
PROMPTED: dict[str, dict[str, Any]] = {
    "own task, other shots, limits": SHOTS | {"gen_kwargs": {"max_gen_toks": 9, "until": ["e"]}},
    "no shots": {"num_fewshot": 0, "gen_kwargs": {"max_gen_toks": 3}, "limit": 0.02},
    "chat": SHOTS | {"apply_chat_template": True},
    "chat, shots in one turn": SHOTS | {"apply_chat_template": "default", "fewshot_as_multiturn": False, "seed": 3},
}


@pytest.mark.parametrize("name", PROMPTED)
def test_arms_are_what_lm_eval_gives_with_the_same_arguments(
    name: str, child: dict[str, Any], talker: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, chat = PROMPTED[name], "chat" in name
    monkeypatch.setattr("lm_eval_steer.sweep.run.TaskManager", own_manager)
    sizes = {"alpha": [1, 2], "limit": 2.0, "val_limit": 2.0, "tasks": ["own_steer"], "include_path": str(OWN)}
    args = make_args(talker if chat else child, tmp_path, **(sizes | given))
    found = run_sweep(args, None, QUIET)["tasks"]["own_steer"]

    def alone(task: str, limit: float | None, **model_args: Any) -> dict[str, Any]:
        seeds = given.get("seed", [0, 1234, 1234, 1234])
        seeds = [seeds] * 4 if isinstance(seeds, int) else seeds
        names = ("random_seed", "numpy_random_seed", "torch_random_seed", "fewshot_random_seed")
        several = given.get("fewshot_as_multiturn", True if chat else None)
        model_args = dict(args.model_args) | model_args | ({"seed": seeds[0]} if seeds[0] else {})
        results: Any = lm_eval.simple_evaluate(
            model="steered-hf", model_args=model_args, tasks=[task], limit=limit, batch_size=32, device="cpu",
            num_fewshot=given.get("num_fewshot"), gen_kwargs=given.get("gen_kwargs", {}),
            system_instruction=given.get("system_instruction"), fewshot_as_multiturn=several,
            apply_chat_template=given.get("apply_chat_template", False), **dict(zip(names, seeds, strict=True)),
            task_manager=own_manager(model_args | given.get("metadata", {}), str(OWN)),
        )  # fmt: skip
        return results

    best = found["validation"]["best"]["vector"]
    checked = alone("own_steer_val", args.val_limit, alpha=best)["results"]["own_steer_val"]["exact_match,remainder"]
    assert found["validation"]["scores"]["vector"][f"{best:g}"] == checked
    for arm, alpha in (("baseline", 0.0), ("best", best))[chat:]:
        (path,) = (tmp_path / "arms" / "own_steer" / arm).rglob("results_*.json")
        content = json.loads(path.read_text(encoding="utf-8"))
        expected = json.loads(json.dumps(alone("own_steer", args.limit, alpha=alpha), default=str))
        asked = expected.pop("samples")["own_steer"]
        for one in (content, expected):
            del one["date"], one["config"]["steering"]
        assert {key: content[key] for key in expected} == expected
        assert content["system_instruction"] == given.get("system_instruction")
        prompts = [sample["arguments"]["gen_args_0"] for sample in samples(tmp_path, arm, "own_steer")]
        assert [[one["arg_0"], one["arg_1"]] for one in prompts] == [sample["arguments"][0] for sample in asked]
        assert [sample["resps"] for sample in samples(tmp_path, arm, "own_steer")] == [one["resps"] for one in asked]
    settings = json.loads((tmp_path / "sweep.json").read_text(encoding="utf-8"))["settings"]
    for key in given.keys() - {"seed", "limit"}:
        assert settings[key] == given[key]


def test_other_seeds_draw_other_shots(tmp_path: Path) -> None:
    manager = own_manager({}, str(OWN))
    drawn = {
        seed: build("own_steer", manager, None, 2, False, HarnessArgs(num_fewshot=2, seeds=read_seeds(seed)))
        for seed in (None, 7, (0, 1234, 1234, 1234))
    }
    prompts = {seed: [one.args[0] for one in requests.instances] for seed, requests in drawn.items()}
    assert prompts[None] == prompts[0, 1234, 1234, 1234] != prompts[7]


def test_the_command_reads_what_lm_eval_reads() -> None:
    words = shlex.split(
        '--model_args pretrained=m --tasks a,b c --gen_kwargs \'max_gen_toks=9,until=["e","f,g"]\' temperature=0.5 '
        "--num_fewshot 0 --system_instruction 'Think, first.' --include_path own --fewshot_as_multiturn false "
        "--seed 1,None,3 --metadata '{\"lengths\": [1, 2]}' --limit 0.5 --apply_chat_template rag --device cuda:1 "
        "--trust_remote_code --confirm_run_unsafe_code --output_path out"
    )
    ours = vars(make_parser().parse_args(["sweep", *words, "--alpha", "1"]))
    theirs = vars(HarnessCLI()._parser.parse_args(["run", *words]))
    names = [word.removeprefix("--") for word in words if word.startswith("--")]
    assert {name: ours[name] for name in names} == {name: theirs[name] for name in names}
    assert ours["seed"] == [1, None, 3, 1234]
    bare = vars(
        make_parser().parse_args(["sweep", "--model_args", "pretrained=m", "--tasks", "a", "--output_path", "out"])
    )
    assert bare["batch_size"] == "auto"
    with pytest.raises(SystemExit):
        make_parser().parse_args(["sweep", *words, "--gen_kwargs", "{'until': 1}"])


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


def test_a_search_by_block_may_be_added_and_goes_on_from_the_record(child: dict[str, Any], tmp_path: Path) -> None:
    small: dict[str, Any] = {"alpha": [1, 2], "limit": 2.0, "val_limit": 3.0}
    sweep(child, tmp_path, **small)
    first = sweep(child, tmp_path, **small, per_layer="optuna", budget=6)
    (tmp_path / "sweep.json").unlink()
    again = sweep(child, tmp_path, **small, per_layer="optuna", budget=6)
    assert without_volatile(again) == without_volatile(first)
    assert {log["new"] for log in again["tasks"]["parity_steer"]["passes"].values()} == {0}
    with pytest.raises(SteeringError, match="another per_layer"):
        sweep(child, tmp_path, **small)


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
        assert find_twins(["math500_steer", "gsm8k_steer"], [], sweeps.manager()) == {
            "math500_steer": "math_steer_val",
            "gsm8k_steer": "gsm8k_steer_val",
        }
        assert find_twins(["arith_steer"], ["gsm8k_steer_val"], sweeps.manager()) == {"arith_steer": "gsm8k_steer_val"}


def test_chat_templates_that_a_model_lacks_are_refused(
    child: dict[str, Any], talker: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(SteeringError, match=r"--apply_chat_template rag: .*'rag' is not available.*default"):
        sweep(talker, tmp_path / "named", apply_chat_template="rag")
    with pytest.raises(SteeringError, match="no chat template: leave out --apply_chat_template"):
        sweep(child, tmp_path / "other", apply_chat_template=True)


# Refusals


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"model": "hf"}, "--model hf does not steer"),
        ({"model": "nothing"}, "--model nothing is no model class"),
        ({"alpha": None}, "needs a set of strengths: give --alpha paper"),
        ({"dose": 0.1}, "two sets of strengths"),
        ({"alpha": "[0,1]"}, r"--alpha \[0,1\] holds 0: leave it out"),
        ({"alpha": "papers"}, "alpha='papers' is not understood"),
        ({"limit": 0.0}, "--limit 0 leaves no document"),
        ({"val_limit": float("nan")}, "--val_limit nan leaves no document"),
        ({"batch_size": "large"}, "--batch_size large is not understood"),
        ({"batch_size": "auto:0"}, "--batch_size auto:0 is not understood"),
        ({"output_path": ""}, "--output_path is empty"),
        ({"num_fewshot": -1}, "--num_fewshot -1 is no number of shots"),
        ({"num_fewshot": 9}, r"parity_steer cannot be built with 9 shots \(.*change --num_fewshot"),
        ({"fewshot_as_multiturn": True}, "without a chat template there are none: add --apply_chat_template"),
        ({"include_path": "nowhere"}, "--include_path nowhere is no folder"),
        ({"seed": [1, 2]}, r"seed=\[1, 2\] is not understood"),
        ({"gen_kwargs": {"max_gen_toks": 0}}, "max_gen_toks=0 lets nothing be written"),
        ({"gen_kwargs": {"until": ["Q:", 3]}}, r"until=\['Q:', 3\] in the generation arguments is not understood"),
        ({"more": {"vote_filter": "no"}}, "vote_filter='no' is no filter of parity_steer"),
        ({"controls": "random"}, None),
        ({"controls": "placebo"}, "'placebo' is not understood"),
        ({"seed": -1}, "seed=-1 is not understood"),
        ({"tasks": []}, "names no task"),
        ({"tasks": ["arith_steer", "arith_steer"]}, "names arith_steer twice"),
        ({"tasks": ["no_such"]}, r"--tasks no_such is no task: .* no whole YAML with task: no_such\)"),
        ({"tasks": ["arith_steer_val"]}, "arith_steer_val has no validation task arith_steer_val_val.*--val_task"),
        ({"val_task": ["arith_steer_val", "parity_steer_val"]}, "--val_task names 2 tasks and --tasks 1"),
        ({"val_task": ["parity_steer"]}, "--val_task parity_steer is the test task itself"),
        ({"val_task": ["no_such"]}, "--val_task no_such is no task"),
        *(
            ({"more": {key: 1}}, f"{key}=1 is in --model_args: leave it out there, a sweep has --")
            for key in ("alpha", "dose", "control", "record", "seed", "batch_size", "device")
        ),
        ({"more": {"vote": "none"}}, "vote=none with 3 strengths"),
        ({"per_layer": "grid"}, "there is no search 'grid'"),
        ({"per_layer": "coordinate", "budget": 0}, "the search has the budget 0"),
        ({"per_layer": "coordinate", "more": {"alpha_per_layer": "linear:0:1"}}, "--per-layer coordinate searches it"),
        ({"more": {"vectors": None}}, "needs vectors"),
    ],
)
def test_bad_arguments_are_one_sentence_before_the_model(
    changes: dict[str, Any],
    sentence: str | None,
    child: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(SteeredHF, "__init__", lambda *_, **__: pytest.fail("the model is loaded"))
    changes = dict(changes)
    model_args = child | changes.pop("more", {})
    if sentence is None:
        make_args(model_args, tmp_path / "out", **changes)
        return
    with pytest.raises(SteeringError, match=sentence):
        sweep(model_args, tmp_path / "out", **changes)


TASKS_THAT_CANNOT_BE = {
    "lost": (
        "dataset_path: json\ndataset_kwargs: {data_files: nowhere.jsonl}\ncustom_dataset: null\n",
        "cannot be loaded",
    ),
    "unmeasured": (
        "metric_list: [{metric: no_such, aggregation: mean, higher_is_better: true}]\n",
        "no_such .* unknown",
    ),
    "unsafe": ("unsafe_code: true\n", "--tasks unsafe executes what the model writes: add --confirm_run_unsafe_code"),
    "rolling": ("output_type: loglikelihood_rolling\nmetric_list: null\n", "of the type loglikelihood_rolling"),
    "wordy": (
        "metric_list: [{metric: exact_match, aggregation: !function words.several, higher_is_better: true}]\n",
        "wordy has no metric that is one number",
    ),
    "painted": ("doc_to_image: question\n", "--tasks painted asks with images or sound"),
    "broken": ("doc_to_text: '{{ nothing.at.all }}'\n", "broken cannot be"),
}


@pytest.mark.parametrize("name", TASKS_THAT_CANNOT_BE)
def test_tasks_that_cannot_be_run_are_told_before_the_model(
    name: str, child: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SteeredHF, "__init__", lambda *_, **__: pytest.fail("the model is loaded"))
    monkeypatch.setattr("lm_eval_steer.sweep.run.TaskManager", own_manager)
    monkeypatch.setitem(sys.modules, "evaluate", None)  # where the harness looks for a metric that it does not know
    settings, sentence = TASKS_THAT_CANNOT_BE[name]
    (tmp_path / "words.py").write_text("def several(values):\n    return values\n")
    (tmp_path / f"{name}.yaml").write_text(f"include: {sweeps.PARITY}/parity_steer.yaml\ntask: {name}\n{settings}")
    args = make_args(child, tmp_path / "out", tasks=[name], val_task=["parity_steer_val"], include_path=str(tmp_path))
    with pytest.raises(SteeringError, match=sentence) as told:
        run_sweep(args, None, QUIET)
    assert "\n" not in str(told.value)


def test_a_control_that_cannot_be_is_refused_before_any_response(child: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(SteeringError, match="control=shuffled permutes directions among blocks"):
        sweep(child | {"layers": 1}, tmp_path, controls="negated,shuffled")
    assert not list((tmp_path / "record").glob("*.jsonl"))


def test_several_processes_are_refused(child: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(SteeringError, match="a sweep is one process, and 2 were started"):
        sweep(child, tmp_path / "out")
    assert not (tmp_path / "out" / "sweep.json").exists()


def test_trust_goes_to_the_model_as_lm_eval_hands_it_on(child: dict[str, Any], tmp_path: Path) -> None:
    args = make_args(child, tmp_path, trust_remote_code=True)
    assert args.arguments == child | {"trust_remote_code": True}
    assert args.settings(args.plan(), {}, {})["model_args"]["trust_remote_code"] is True


def test_output_path_must_be_a_folder(child: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "arms").write_text("")
    with pytest.raises(SteeringError, match="cannot be written"):
        make_args(child, tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(SteeringError, match="cannot be written"):
        make_args(child, tmp_path / "file")


# Going on


def test_a_finished_sweep_is_told_again_without_a_model(
    child: dict[str, Any], done: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, state = done
    monkeypatch.setattr(SteeredHF, "__init__", lambda *_, **__: pytest.fail("the model is loaded"))
    elsewhere = child | {"device_map": "auto", "data_parallel_size": 2}
    assert sweep(elsewhere, folder, controls=CONTROLS, batch_size=2) == json.loads(json.dumps(state))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"alpha": [0.5, 1]}, r"another alpha: it has \[0.5, 1.0, 2.0\], this one \[0.5, 1.0\]"),
        ({"limit": 9.0}, "another limit: it has 8.0, this one 9.0"),
        ({"val_limit": None}, "another val_limit: it has 6.0, this one None"),
        ({"seed": 1}, r"another seed: it has \[0, 1234, 1234, 1234\], this one \[1, 1, 1, 1\]"),
        ({"num_fewshot": 0}, "another num_fewshot: it has None, this one 0"),
        ({"gen_kwargs": {"max_gen_toks": 9}}, "another gen_kwargs: it has {}, this one {'max_gen_toks': 9}"),
        ({"system_instruction": "Think."}, "another system_instruction: it has None, this one 'Think.'"),
        ({"metadata": {"length": 9}}, "another metadata"),
        ({"controls": "random:1"}, "another controls"),
        ({"more": {"tokens": "last"}}, "another tokens in --model_args: it has None, this one 'last'"),
        ({"other": 7}, "another vector"),
        ({"val_task": ["arith_steer_val"]}, "another validation task of parity_steer"),
        ({"alpha": None, "dose": list(ALPHAS)}, "another alpha"),
    ],
)
def test_other_settings_are_refused(
    changes: dict[str, Any], sentence: str, child: dict[str, Any], done: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    folder, _ = done
    before = (folder / "sweep.json").read_bytes()
    changes = {"controls": CONTROLS} | changes
    more = changes.pop("more", {})
    if seed := changes.pop("other", None):
        more = {"vectors": str(make_vector(seed=seed).save(tmp_path / "other.pt"))}
    with pytest.raises(SteeringError, match=sentence):
        sweep(child | more, folder, **changes)
    assert (folder / "sweep.json").read_bytes() == before


@pytest.mark.parametrize("content", ["{", "[]", '{"version": 1}', '{"version": 2, "settings": {}}'])
def test_a_broken_state_is_refused(content: str, child: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "sweep.json").write_text(content)
    with pytest.raises(SteeringError, match=r"is no sweep\.json|is of version 2"):
        sweep(child, tmp_path)


def test_what_ended_before_its_first_pass_binds_nobody(child: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(SteeringError, match="num_return_sequences=2"):  # known once the model is loaded
        sweep(child, tmp_path, alpha=[1, 2], limit=2.0, val_limit=2.0, gen_kwargs={"num_return_sequences": 2})
    assert (tmp_path / "sweep.json").exists()
    assert sweep(child, tmp_path, alpha=1, limit=1.0, val_limit=1.0)["complete"]


def test_controls_and_tasks_may_be_added(child: dict[str, Any], tmp_path: Path) -> None:
    small = {"alpha": [1, 2], "limit": 2.0, "val_limit": 2.0}
    first = sweep(child, tmp_path, **small)
    files = {arm["result"] for arm in first["tasks"]["parity_steer"]["test"].values()}
    second = sweep(child, tmp_path, **small, controls="negated", tasks=["parity_steer", "arith_steer"])
    assert list(second["tasks"]) == ["parity_steer", "arith_steer"]
    arms = second["tasks"]["parity_steer"]["test"]
    assert files <= {arm["result"] for arm in arms.values()}
    assert list(arms) == list(second["tasks"]["arith_steer"]["test"]) == [
        "baseline", "best", "vote", "negated best", "negated vote",
    ]  # fmt: skip
    assert second["tasks"]["parity_steer"]["passes"]["parity_steer, vector"]["new"] == 6


# Damage

SMALL: dict[str, Any] = {"alpha": [1, 2], "limit": 2.0, "val_limit": 2.0}


@pytest.fixture(scope="module")
def small(child: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A finished sweep without controls."""
    folder = tmp_path_factory.mktemp("small") / "sweep"
    with pytest.MonkeyPatch.context() as patch:
        sweeps.hurry(patch)
        return folder, sweep(child, folder, **SMALL)


def _drop_samples(path: Path) -> None:
    next(path.parent.glob("samples_*")).unlink()


def _cut_samples(path: Path) -> None:
    samples = next(path.parent.glob("samples_*"))
    samples.write_bytes(samples.read_bytes()[:-9])


def _be_wrong(path: Path) -> None:
    samples = next(path.parent.glob("samples_*"))
    samples.write_text(
        re.sub(r'"exact_match": [\d.]+', '"exact_match": "x"', samples.read_text(encoding="utf-8"), count=1)
    )


def _be_another(path: Path) -> None:
    path.write_text(path.read_text(encoding="utf-8").replace('"limit": 2.0', '"limit": 9.0'), encoding="utf-8")


DAMAGES: dict[str, Callable[[Path], object]] = {
    "cut": lambda path: path.write_bytes(path.read_bytes()[:8192]),
    "no UTF-8": lambda path: path.write_bytes(path.read_bytes().replace(b"parity", b"\xffarity")),
    "nested": lambda path: path.write_text("[" * 200000),
    "a pipe": lambda path: (path.unlink(), os.mkfifo(path)),
    "a file in its place": lambda path: (shutil.rmtree(path.parents[1]), path.parents[1].write_text("")),
    "a score that is text": _be_wrong,
    "no samples": _drop_samples,
    "cut samples": _cut_samples,
    "of other settings": _be_another,
}


@pytest.mark.parametrize(
    ("complete", "names"),
    [(True, ["cut", "no UTF-8"]), (False, ["cut", "a score that is text", "nested"]),
     (False, ["a pipe", "no samples", "of other settings"]), (True, ["cut samples", "a file in its place"])],
)  # fmt: skip
def test_arms_that_are_damaged_are_written_again(
    complete: bool, names: list[str], child: dict[str, Any], small: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    whole, state = small
    folder = shutil.copytree(whole, tmp_path / "sweep")
    for name, arm in zip(names, ("best", "baseline", "vote"), strict=False):
        (path,) = (folder / "arms" / "parity_steer" / arm).rglob("results_*.json")
        DAMAGES[name](path)
    if not complete:
        told = json.loads((folder / "sweep.json").read_text(encoding="utf-8")) | {"complete": False}
        (folder / "sweep.json").write_text(json.dumps(told), encoding="utf-8")
    again = sweep(child, folder, **SMALL)
    assert without_volatile(again) == without_volatile(state)
    assert differences(outcome(folder), outcome(whole)) == []
    assert {log["new"] for log in again["tasks"]["parity_steer"]["passes"].values()} == {6}  # none came since


@pytest.mark.parametrize(
    "change",
    [
        {"baseline": {"tokens": "x"}},
        {"vote": {"votes": "NaN"}},
        {"best": {"score": 0.99}},
        {"best": {"alpha": 9.0}},
        {"vote": {"result": "../elsewhere"}},
        {"more": {"score": 1.0}},
    ],
)
def test_a_finished_sweep_is_not_believed_against_its_arms(
    change: dict[str, dict[str, Any]], child: dict[str, Any], small: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    whole, state = small
    folder = shutil.copytree(whole, tmp_path / "sweep")
    told = json.loads((folder / "sweep.json").read_text(encoding="utf-8"))
    for arm, entry in change.items():
        told["tasks"]["parity_steer"]["test"][arm] = told["tasks"]["parity_steer"]["test"].get(arm, {}) | entry
    (folder / "sweep.json").write_text(json.dumps(told), encoding="utf-8")
    again = sweep(child, folder, **SMALL)
    assert without_volatile(again["tasks"]["parity_steer"]["test"].get("best")) == without_volatile(
        state["tasks"]["parity_steer"]["test"]["best"]
    )
    assert differences(without_volatile(again), without_volatile(state)) == []


def test_a_full_disk_is_one_sentence_and_the_next_start_goes_on(
    child: dict[str, Any], small: tuple[Path, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The harness tells of it in a warning and leaves half a file; room for that much there was."""
    write = Path.write_text

    def fill(path: Path, text: str, **more: Any) -> int:
        if path.name.startswith("results_") and "best" in path.parts[-3]:
            write(path, text[: len(text) // 2], **more)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(path, text, **more)

    monkeypatch.setattr(Path, "write_text", fill)
    with pytest.raises(
        SteeringError, match=r"best cannot be written \(No space left on device\): make room and run again"
    ):
        sweep(child, tmp_path, **SMALL)
    assert [path.name for path in (tmp_path / "arms" / "parity_steer").iterdir()] == ["baseline"]
    monkeypatch.undo()
    sweeps.hurry(monkeypatch)
    sweep(child, tmp_path, **SMALL)
    assert differences(outcome(tmp_path), outcome(small[0])) == []


def test_a_second_start_is_refused_while_the_first_one_writes(
    child: dict[str, Any], small: tuple[Path, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = []

    def write(*args: Any) -> None:
        part = args[3].with_name(f"{args[3].name}.part")
        part.mkdir(parents=True)
        with pytest.raises(SteeringError) as told:
            sweep(child, tmp_path, **SMALL)
        refused.append(str(told.value))
        assert part.is_dir()
        write_arm(*args)

    monkeypatch.setattr("lm_eval_steer.sweep.run.write_arm", write)
    sweep(child, tmp_path, **SMALL)
    assert len(refused) == 3
    assert re.fullmatch(
        r"the sweep .* is in use by another run of this process \(\d+\): wait for its end, .*", refused[0]
    )
    assert differences(outcome(tmp_path), outcome(small[0])) == []


def test_weights_that_changed_are_noticed(
    child: dict[str, Any], small: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    folder, weights = shutil.copytree(small[0], tmp_path / "sweep"), Path(child["pretrained"], "model.safetensors")
    before = weights.read_bytes()
    try:
        models.make_model("llama", seed=1).save_pretrained(weights.parent)
        with pytest.raises(SteeringError, match=r"the weights .* changed since the sweep in .* ended"):
            sweep(child, folder, **SMALL)
        told = json.loads((folder / "sweep.json").read_text(encoding="utf-8"))
        (folder / "sweep.json").write_text(json.dumps(told | {"complete": False}), encoding="utf-8")
        again = sweep(child, folder, **SMALL)
        assert {log["new"] for log in again["tasks"]["parity_steer"]["passes"].values()} == {6}
        assert responses(folder, "baseline") == texts(single(child, limit=2.0, alpha=0))
    finally:
        weights.write_bytes(before)
    for arm in ("baseline", "best", "vote"):
        assert responses(folder, arm) != responses(small[0], arm)


def test_tasks_that_changed_are_noticed(child: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lm_eval_steer.sweep.run.TaskManager", own_manager)
    own = tmp_path / "tasks" / "mine.yaml"
    own.parent.mkdir()
    given = {"tasks": ["mine"], "val_task": ["parity_steer_val"], "include_path": str(own.parent), "alpha": 1}

    def start(changed: str) -> dict[str, Any]:
        own.write_text(f"include: {sweeps.PARITY}/parity_steer.yaml\ntask: mine\n{changed}", encoding="utf-8")
        return run_sweep(make_args(child, tmp_path / "out", limit=1.0, val_limit=1.0, **given), None, QUIET)

    assert start("")["complete"]
    before = (tmp_path / "out" / "sweep.json").read_bytes()
    for changed in ("doc_to_text: 'Well? '\n", "doc_to_target: even\n", "filter_list: null\n"):
        with pytest.raises(SteeringError, match=r"the task mine \(its documents, .*\) changed since the sweep in"):
            start(changed)
    monkeypatch.setattr(SteeredHF, "__init__", lambda *_, **__: pytest.fail("the model is loaded"))
    assert start("")["complete"]
    assert (tmp_path / "out" / "sweep.json").read_bytes() == before


# Scores that are no numbers


@pytest.mark.parametrize(
    ("value", "spoilt"),
    [(float("nan"), (1.0, 2.0)), (float("inf"), (1.0, 2.0)), (float("inf"), (1.0,))],
)
def test_an_arm_without_a_number_is_named_and_the_rest_stands(
    value: float, spoilt: tuple[float, ...], child: dict[str, Any], small: tuple[Path, dict[str, Any]], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    score, sift = ConfigurableTask.process_results, ConfigurableTask.apply_filters
    lines = [line for line in read_lines(small[0] / "record") if not line.variant]
    bad = {line.response for line in lines if line.alpha in spoilt} - {
        line.response for line in lines if line.alpha not in spoilt
    }

    def filters(task: Any) -> None:
        sift(task)
        for one in task._instances:
            if one.resps[0] in bad:
                one.filtered_resps = dict.fromkeys(one.filtered_resps, "spoilt")

    def measure(task: Any, doc: Any, results: Any) -> dict[str, Any]:
        return {"exact_match": value} if results == ["spoilt"] else score(task, doc, results)

    monkeypatch.setattr(ConfigurableTask, "apply_filters", filters)
    monkeypatch.setattr(ConfigurableTask, "process_results", measure)
    search: dict[str, Any] = {"per_layer": "coordinate", "budget": 4} if value > 0 and spoilt == (1.0, 2.0) else {}
    state = sweep(child, tmp_path, **SMALL, **search)
    told = (tmp_path / "sweep.json").read_text(encoding="utf-8")
    assert json.loads(told, parse_constant=lambda word: pytest.fail(word)) == json.loads(json.dumps(state))
    task, whole = state["tasks"]["parity_steer"], small[1]["tasks"]["parity_steer"]
    scores, expected = task["validation"]["scores"]["vector"], whole["validation"]["scores"]["vector"]
    assert scores == {name: None if float(name) in spoilt else score for name, score in expected.items()}
    assert task["validation"]["best"]["vector"] == (2.0 if spoilt == (1.0,) else 1.0)
    assert without_volatile(task["test"]["baseline"]) == without_volatile(whole["test"]["baseline"])
    notes = make_notes("parity_steer", task)
    if spoilt == (1.0, 2.0):
        arm = task["test"]["best"]
        assert (arm["score"], arm["no_score"]) == (None, f"exact_match is {value}")
        assert set(arm["against_baseline"].values()) == {None}
        assert f"best of parity_steer has no score (exact_match is {value}) and is compared with nothing" in notes
    assert any("parity_steer_val, vector has no score at" in note for note in notes)
    if search:  # the strength itself is infinite; what was found is not
        found = task["per_layer"]["vector"]
        finite = {tuple(profile): score for profile, score in found["history"] if score is not None}
        assert found["start_score"] is None
        assert found["score"] == max(finite.values()) == finite[tuple(found["profile"])]
    out = io.StringIO()
    Console(file=out, width=140).print(make_table("parity_steer", task, "alpha"))
    assert "baseline" in out.getvalue()
    monkeypatch.setattr(SteeredHF, "__init__", lambda *_, **__: pytest.fail("the model is loaded"))
    assert sweep(child, tmp_path, **SMALL, **search) == json.loads(told)


def test_a_strength_that_makes_everything_infinite_leaves_a_whole_sweep(child: dict[str, Any], tmp_path: Path) -> None:
    state = sweep(child, tmp_path, **(SMALL | {"alpha": [1, 1e38]}))
    assert state["complete"]
    doses = state["tasks"]["parity_steer"]["test"]["vote"]["doses"]
    assert doses["1e+38"]["blocks"] < doses["1"]["blocks"] == models.DEPTH
    assert all(isinstance(arm["score"], float) for arm in state["tasks"]["parity_steer"]["test"].values())
    assert len(read_runs([tmp_path])) == 3


# Killed


def outcome(folder: Path) -> dict[str, Any]:
    """All that a sweep leaves but its volatile keys."""
    record = {}
    for line in read_lines(folder / "record"):
        kept = {key: value for key, value in vars(line).items() if key not in VOLATILE}
        kept["logprob"] = pytest.approx(line.logprob, abs=1e-4)
        record[line.fingerprint] = kept
    found: dict[str, Any] = {"record": record}
    for path in sorted((folder / "arms").rglob("*.json*")):
        arm = path.relative_to(folder / "arms").parts[1]
        if path.suffix == ".jsonl":
            found[f"{arm} samples"] = path.read_text(encoding="utf-8")
        else:
            content = json.loads(re.sub(r" at 0x\w+>", ">", path.read_text(encoding="utf-8")))  # of functions
            content["config"]["steering"].update(doses=None, application=None)
            for key in [key for key in content if "time" in key] + ["date"]:
                del content[key]
            found[f"{arm} results"] = content
    names = sorted(path.name for path in folder.rglob("*") if path.suffix == ".part")
    state = json.loads((folder / "sweep.json").read_text(encoding="utf-8"))
    return found | {"half-written": names, "state": without_volatile(state)}


def differences(one: Any, other: Any, path: str = "") -> list[str]:
    if isinstance(one, dict) and isinstance(other, dict):
        keys = dict.fromkeys([*one, *other])
        return [found for key in keys for found in differences(one.get(key), other.get(key), f"{path}/{key}")]
    return [] if one == other else [f"{path}: {one!r:.200} != {other!r:.200}"]


@pytest.fixture(scope="module")
def command(child: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Any]]:
    """Runs `lm-eval-steer sweep` in a process that can be killed; see sweeps.py."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    log = tmp_path_factory.mktemp("command") / "stderr"
    with log.open("w") as errors, subprocess.Popen(
        [sys.executable, sweeps.__file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
        text=True, env=environment,
    ) as server:  # fmt: skip
        given = ",".join(f"{key}={value}" for key, value in child.items()) + ",vote_early_stop=True"

        def run(folder: Path, event: int | None = None, after: float | None = None) -> tuple[int, int, float]:
            argv = [
                "sweep", "--model_args", given, "--tasks", "parity_steer", "--alpha", "[0.0001,0.0002,1,2]",
                "--limit", "3", "--val_limit", "2", "--batch_size", "16", "--device", "cpu",
                "--controls", "self-consistency", "--output_path", str(folder),
            ]  # fmt: skip
            assert server.stdin
            assert server.stdout
            server.stdin.write(json.dumps({"argv": argv, "event": event, "after": after}) + "\n")
            server.stdin.flush()
            code, events, seconds = json.loads(server.stdout.readline())
            assert code in (0, 137, -9), log.read_text()[-3000:]
            return code, events, seconds

        yield run
        server.stdin.close()  # type: ignore[union-attr]


@pytest.fixture(scope="module")
def undisturbed(command: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, int, float]:
    folder = tmp_path_factory.mktemp("undisturbed")
    code, events, seconds = command(folder)
    assert code == 0
    whole = outcome(folder)
    assert whole["state"]["tasks"]["parity_steer"]["test"]["vote"]["skipped"] > 0
    return whole, events, seconds


def test_a_sweep_that_dies_at_ten_writes_ends_as_one_that_does_not(
    command: Callable[..., Any], undisturbed: tuple[Any, int, float], tmp_path: Path
) -> None:
    """In the middle of a line of the record, before a file gets its name; each time the next start goes on."""
    expected, events, _ = undisturbed
    points = sorted(random.Random(4).sample(range(1, events + 1), 10))
    for point in points:
        folder = tmp_path / str(point)
        assert command(folder, event=point)[:2] == (137, point)
        code, _, _ = command(folder)
        assert code == 0
        assert differences(outcome(folder), expected) == [], f"killed at write {point} of {events}"
        shutil.rmtree(folder)


def test_a_sweep_that_is_killed_again_and_again_ends_as_one_that_is_not(
    command: Callable[..., Any], undisturbed: tuple[Any, int, float], tmp_path: Path
) -> None:
    """By real SIGKILLs at random moments, all of the same sweep."""
    expected, _, seconds = undisturbed
    draw = random.Random(4)
    killed = 0
    for _ in range(4):
        code, _, _ = command(tmp_path, after=draw.uniform(0.2, 0.8) * seconds)
        killed += code == -9
    assert killed
    assert command(tmp_path)[0] == 0
    assert differences(outcome(tmp_path), expected) == []


# What it shows


def lines_of(child: dict[str, Any], folder: Path) -> tuple[Scorer, list[Line]]:
    lm = SteeredHF(**child, alpha=[1, 2], record=str(folder), device="cpu", batch_size=8)
    requests = build("parity_steer", sweeps.manager(), lm, 3, False)
    heard: list[Line] = []
    lm.watch = lambda line, new: heard.append(line)
    lm.generate_until(requests.instances, disable_tqdm=True)
    return Scorer(requests), heard


def test_the_table_grows_with_the_responses(
    child: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer, lines = lines_of(child, tmp_path)
    monkeypatch.setattr("lm_eval_steer.sweep.board._REFRESH", 0.0)
    out = io.StringIO()
    board = Board(scorer, "a pass", 6, Console(file=out, force_terminal=True, width=80))
    with board:
        for line in lines[:3]:
            board.hear(dataclasses.replace(line, time=0.0), new=True)  # by a clock that was put back
    assert "3 of 6 responses" in out.getvalue()
    assert "left" in out.getvalue()
    assert sum(one.n for one in scorer.variants.values()) == 3
    assert (board.new, board.recorded) == (3, 0)


def test_elsewhere_a_line_is_printed_now_and_then(
    child: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer, lines = lines_of(child, tmp_path)
    out = io.StringIO()
    with Board(scorer, "a pass", 6, Console(file=out, width=80)) as board:
        for line in lines:
            board.hear(dataclasses.replace(line, time=4e9), new=False)  # by a clock that was fast
    assert out.getvalue().count("\n") == 1
    assert out.getvalue().startswith("a pass: 6 of 6 responses, 0:00; 1 ")
    assert board.recorded == 6
    monkeypatch.setattr("lm_eval_steer.sweep.board._REPORT", 0.0)
    out.truncate(0)
    with Board(Scorer(scorer.requests), "a pass", 6, Console(file=out)) as board:
        for line in lines:
            board.hear(line, new=False)
    assert out.getvalue().count("\n") == 7


def test_the_example_of_the_help_runs(
    child: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["sweep", "--help"])
    example = capsys.readouterr().out.partition("example:\n")[2]
    words = shlex.split(example.replace("\\\n", " "))
    assert words[:2] == ["lm-eval-steer", "sweep"]
    small = {"models/smollm2": child["pretrained"], "40": "2"}
    monkeypatch.chdir(tmp_path)
    argv = [small.get(word, word.replace("models/smollm2", child["pretrained"])) for word in words[1:]]
    assert argv[-2:] == ["--output_path", "sweep"]
    assert main([*argv[:-1], "a sweep", "--batch_size", "64"]) == 0
    out = capsys.readouterr().out
    for words_of_table in ("baseline", "vote", "random:2 best", "McNemar p", "18 values", " pt"):
        assert words_of_table in out
    last = shlex.split(out.strip().split("\n")[-1])
    assert last == ["lm-eval-steer", "leaderboard", "a sweep"]
    assert main(last[1:]) == 0
    assert "vote of 18" in capsys.readouterr().out


def test_bad_arguments_of_the_command_end_in_a_sentence(
    child: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["sweep", "--model_args", f"pretrained={child['pretrained']}", "--tasks", "arith_steer"]
    assert main([*argv, "--alpha", "1", "--output_path", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("lm-eval-steer sweep: alpha=1 needs vectors")
    assert error.count("\n") == 1
