"""Groups, tags and wildcards in a sweep: their scores against plain lm_eval, their rows, and what is refused."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lm_eval
import pytest
from lm_eval.loggers import EvaluationTracker

import group_tasks
import sweeps
from lm_eval_steer.compare.pairs import pair_runs
from lm_eval_steer.compare.per_task import describe_groups
from lm_eval_steer.compare.runs import read_runs
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.report.tables import read_leaderboard
from lm_eval_steer.sweep import SweepArgs, make_members_table, make_table, run_sweep
from lm_eval_steer.sweep.harness import HarnessArgs
from lm_eval_steer.sweep.state import without_volatile
from lm_eval_steer.sweep.units import Unit, find_units

SIZED, EVEN = "group_sized", "group_even"
MEMBERS = {SIZED: ("group_a", "group_b", "group_c"), EVEN: ("group_d", "group_e")}
SIZES = {"group_a": 6, "group_b": 11, "group_c": 8, "group_d": 5, "group_e": 9}


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    sweeps.hurry(monkeypatch)


@pytest.fixture(scope="module")
def child(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return sweeps.make_child(tmp_path_factory.mktemp("child"))


def sweep(child: dict[str, Any], folder: Path, tasks: list[str], **changes: Any) -> dict[str, Any]:
    wanted: dict[str, Any] = {"alpha": [2, 8], "batch_size": 64, "device": "cpu"} | changes
    args = SweepArgs(model="steered-hf", model_args=child, tasks=tasks, output_path=str(folder), **wanted)
    return run_sweep(args, group_tasks.manager(), sweeps.QUIET)


@pytest.fixture(scope="module")
def done(child: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A sweep of a group that weighs documents alike, and of one that weighs tasks alike."""
    folder = tmp_path_factory.mktemp("groups")
    with pytest.MonkeyPatch.context() as patch:
        sweeps.hurry(patch)
        return folder, sweep(child, folder, [SIZED, EVEN])


def plain(child: dict[str, Any], tasks: list[str], folder: Path | None = None, **model_args: Any) -> dict[str, Any]:
    """A run as lm_eval does it; in a folder as --output_path and --log_samples leave it."""
    tracker = EvaluationTracker(output_path=str(folder)) if folder else None
    results: Any = lm_eval.simple_evaluate(
        model="steered-hf", model_args=child | model_args, tasks=tasks, batch_size=64, device="cpu",
        task_manager=group_tasks.manager(), gen_kwargs={}, bootstrap_iters=0, evaluation_tracker=tracker,
    )  # fmt: skip
    if tracker:
        tracker.save_results_aggregated(results=results, samples=results["samples"])
        for task, samples in results["samples"].items():
            tracker.save_results_samples(task_name=task, samples=samples)
    return dict(results)


@pytest.fixture(scope="module")
def alone(
    child: dict[str, Any], done: tuple[Path, dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[Path, dict[str, Any]]]:
    """Each arm of the group that weighs documents alike, and the vote of both, as runs of plain lm_eval."""
    found = {}
    for arm, entry in done[1]["tasks"][SIZED]["test"].items():
        folder = tmp_path_factory.mktemp(arm)
        tasks = [SIZED, EVEN] if arm == "vote" else [SIZED]
        record = {"record": str(folder / "record")} if arm == "vote" else {}
        with pytest.MonkeyPatch.context() as patch:
            sweeps.hurry(patch)
            found[arm] = folder, plain(child, tasks, folder, alpha=entry["alpha"], **record)
    return found


def test_every_arm_has_the_score_of_plain_lm_eval(
    done: tuple[Path, dict[str, Any]], alone: Mapping[str, tuple[Path, dict[str, Any]]]
) -> None:
    folder, state = done
    arms = state["tasks"][SIZED]["test"]
    assert list(arms) == ["baseline", "best", "vote"]
    for arm, entry in arms.items():
        results = alone[arm][1]
        assert entry["metric"] == "acc,none"
        assert entry["score"] == results["groups"][SIZED]["acc,none"]
        written = json.loads((folder / entry["result"]).read_text(encoding="utf-8"))
        assert written["groups"][SIZED]["acc,none"] == entry["score"]
        for member in MEMBERS[SIZED]:
            (samples,) = (folder / entry["result"]).parent.glob(f"samples_{member}_*.jsonl")
            rows = [json.loads(line) for line in samples.read_text(encoding="utf-8").splitlines()]
            assert [row["acc"] for row in rows] == [row["acc"] for row in results["samples"][member]]
    assert state["tasks"][EVEN]["test"]["vote"]["score"] == alone["vote"][1]["groups"][EVEN]["acc_norm,none"]
    scores = {arm: entry["score"] for arm, entry in arms.items()}
    assert len(set(scores.values())) > 1, "the strengths do nothing, so nothing was compared"


def test_what_competes_with_steering_is_asked_of_the_whole_group(child: dict[str, Any], tmp_path: Path) -> None:
    told = "Choose the longest answer, whatever it says."
    given = {"max_length": child["max_length"], "pretrained": child["pretrained"]}
    arms = [f"own={child['vectors']}", f"prompt={told}"]
    state = sweep(given, tmp_path, [SIZED], alpha=[2], arms=arms, per_layer="coordinate", budget=2)
    found = state["tasks"][SIZED]["test"]
    assert list(found) == ["baseline", "own best", "own vote", "own per-layer", "prompt"]
    alone: Any = lm_eval.simple_evaluate(
        model="hf", model_args=given, tasks=[SIZED], batch_size=64, device="cpu", task_manager=group_tasks.manager(),
        gen_kwargs={}, bootstrap_iters=0, system_instruction=told,
    )  # fmt: skip
    assert found["prompt"]["score"] == alone["groups"][SIZED]["acc,none"]
    assert found["prompt"]["prompt_tokens"] > found["baseline"]["prompt_tokens"]
    for member in MEMBERS[SIZED]:
        (samples,) = (tmp_path / found["prompt"]["result"]).parent.glob(f"samples_{member}_*.jsonl")
        rows = [json.loads(line) for line in samples.read_text(encoding="utf-8").splitlines()]
        assert [row["acc"] for row in rows] == [row["acc"] for row in alone["samples"][member]]
        assert all(row["arguments"]["gen_args_0"]["arg_0"].startswith(told) for row in rows)


def test_a_group_is_searched_on_its_members_together_by_its_own_rule(
    done: tuple[Path, dict[str, Any]], child: dict[str, Any], tmp_path: Path
) -> None:
    _, state = done
    by_task = sweep(child, tmp_path, [EVEN], per_task=True, metric="acc_norm")
    assert set(by_task["tasks"]) == set(MEMBERS[EVEN])
    for alpha, score in state["tasks"][EVEN]["validation"]["scores"]["vector"].items():
        each = [by_task["tasks"][name]["validation"]["scores"]["vector"][alpha] for name in MEMBERS[EVEN]]
        assert score == pytest.approx(sum(each) / 2)  # tasks count alike
    together = state["settings"]["validation"][SIZED]
    assert (together["validation"]["n"], together["test"]["n"]) == (15, 25)
    assert {name: facts["split"] for name, facts in together["members"].items()} == dict.fromkeys(
        MEMBERS[SIZED], "validation"
    )
    part = describe_groups(tmp_path, by_task)[EVEN]
    assert part["test"]["vote"]["score"] == pytest.approx(state["tasks"][EVEN]["test"]["vote"]["score"])
    assert make_table(EVEN, part, "alpha").row_count == 3
    board = read_leaderboard([tmp_path])
    assert [(row.group.task, row.any_run.n) for row in board.rows] == [(EVEN, 14)]
    assert [one.tests for one in board.families] == [["best", "vote"], ["vote - best"]]
    assert {row.group.task for row in read_leaderboard([tmp_path], members="shown").rows} == {EVEN, *MEMBERS[EVEN]}


def test_the_documents_of_a_group_have_its_score_for_mean(done: tuple[Path, dict[str, Any]]) -> None:
    folder, state = done
    for group, members in MEMBERS.items():
        for entry in state["tasks"][group]["test"].values():
            runs = {run.task: run for run in read_runs([folder / entry["result"]])}
            run = runs[group]
            assert run.group is None
            assert {one.group for name, one in runs.items() if name != group} == {group}
            assert (run.members, run.n, len(run.samples)) == (members, sum(SIZES[one] for one in members), run.n)
            for metric in run.metrics:
                one = run.by(metric)
                assert sum(sample.score for sample in one.samples) / run.n == pytest.approx(one.score)
    even = runs["group_e"].by("acc_norm,none")
    scaled = [one.score for one in run.samples if one.key[0].startswith("group_e ")]
    assert scaled == pytest.approx([one.score * 14 / (2 * 9) for one in even.samples])


def test_a_row_per_group_one_family_and_members_on_demand(
    done: tuple[Path, dict[str, Any]], alone: Mapping[str, tuple[Path, dict[str, Any]]]
) -> None:
    folder, state = done
    board = read_leaderboard([folder])
    assert sorted(row.group.task for row in board.rows) == [EVEN, SIZED]
    assert sorted((one.task, one.tests) for one in board.families) == [
        (EVEN, ["best", "vote"]),
        (EVEN, ["vote - best"]),
        (SIZED, ["best", "vote"]),
        (SIZED, ["vote - best"]),
    ]
    shown = read_leaderboard([folder], members="shown")
    assert len(shown.rows) == 2 + 5 + 1  # and a subgroup
    members = [entry for entry in shown.entries() if entry["member_of"]]
    assert len(members) == 6
    for entry in members:
        for change in entry["changes"].values():
            assert change["low"] <= change["change"] <= change["high"]
            assert (change["holm_p"], change["verdict"]) == (None, "member, not tested")
    assert shown.families == board.families
    families = read_leaderboard([folder], members="tested").families
    tested = {one.task: len(one.tests) for one in families if one.tests[0].startswith("best")}
    assert tested == {EVEN: 2, SIZED: 2, f"members of {EVEN}": 4, f"members of {SIZED}": 8}
    rivals = {one.task: len(one.tests) for one in families if one.tests[0].startswith("vote - best")}
    assert rivals == {EVEN: 1, SIZED: 1}
    table = make_members_table(folder, SIZED, state["tasks"][SIZED])
    assert table.row_count == 4 * 3
    # Runs of plain lm_eval give the same row, and pair with those of the sweep.
    apart = read_leaderboard([alone["baseline"][0], alone["best"][0]])
    (row,) = apart.rows
    assert row.group.task == SIZED
    (of_sweep,) = (one for one in board.rows if one.group.task == SIZED)
    assert of_sweep.baseline is not None
    paired = pair_runs(of_sweep.baseline, next(iter(row.runs.values())))
    assert paired is not None
    (change,) = row.changes.values()
    best = next(change for arm, change in of_sweep.changes.items() if arm.name == "best")
    assert (change.change, change.gained, change.lost) == (best.change, best.gained, best.lost)


def test_it_goes_on_from_what_is_there(
    done: tuple[Path, dict[str, Any]], child: dict[str, Any], tmp_path: Path
) -> None:
    folder = tmp_path / "again"
    shutil.copytree(done[0], folder)
    shutil.rmtree(folder / "arms" / EVEN / "vote")
    shutil.rmtree(folder / "arms" / SIZED / "best")
    (record,) = (path for path in (folder / "record").glob("*group_e*.jsonl") if "validation" not in path.name)
    lines = record.read_bytes().splitlines(keepends=True)
    record.write_bytes(b"".join(lines[:-3]) + lines[-3][:10])
    state = json.loads((folder / "sweep.json").read_text(encoding="utf-8"))
    del state["tasks"][EVEN]["test"]["vote"]
    (folder / "sweep.json").write_text(json.dumps(state | {"complete": False}), encoding="utf-8")
    again = sweep(child, folder, [SIZED, EVEN, "group_writes"])
    passes = {name: one["new"] for name, one in again["tasks"][EVEN]["passes"].items()}
    before = {name: one["new"] for name, one in done[1]["tasks"][EVEN]["passes"].items()}
    assert passes == {EVEN: before[EVEN] + 3, f"{EVEN}:validation": before[f"{EVEN}:validation"]}
    for group in MEMBERS:
        found = without_volatile(json.loads(json.dumps(again["tasks"][group])))
        assert sweeps.differences(found, without_volatile(json.loads(json.dumps(done[1]["tasks"][group])))) == []
    assert "group_writes" in again["tasks"]  # a task that was added later
    assert again["complete"]


def names(*given: str, told: list[str] | None = None, **more: Any) -> dict[str, tuple[str, ...]]:
    sentences = [] if told is None else told
    units = find_units(given, group_tasks.manager(), HarnessArgs(), {}, tell=sentences.append, **more)
    return {unit.name: unit.members for unit in units}


def test_what_tasks_names() -> None:
    told: list[str] = []
    assert names("group_tag", "group_a", told=told) == {one: (one,) for one in ("group_b", "group_c", "group_a")}
    assert names("group_bare", told=told) == {"group_a": ("group_a",), "group_b": ("group_b",)}
    assert names("group_ev*", "group_a", told=told) == {EVEN: MEMBERS[EVEN], "group_a": ("group_a",)}
    assert names("group_[st]*", told=told) == {SIZED: MEMBERS[SIZED]}  # the tag's tasks lie in the group
    assert told == [
        "group_tag is a tag: its 2 tasks are swept one by one",
        "group_bare is a group of 2 tasks, which are swept one by one: it says no aggregate_metric_list, so it has no "
        "score",
        "group_ev* matches group_even",
        "group_even is a group of 2 tasks, which share a strength and a score, the mean of acc_norm over tasks",
        "group_[st]* matches group_sized, without 1 that lie in these",
        "group_sized is a group of 3 tasks, which share a strength and a score, the mean of acc over all documents",
    ]
    assert names(SIZED, metric="acc_norm") == {SIZED: MEMBERS[SIZED]}
    assert list(names(SIZED, per_task=True)) == list(MEMBERS[SIZED])


def test_a_rule_that_changed_is_another_group() -> None:
    manager = group_tasks.manager()
    (unit,) = find_units([EVEN], manager, HarnessArgs(), {})
    group = manager.load([EVEN])["groups"][EVEN]
    assert Unit(EVEN, unit.members, group, unit.metric).rule == unit.rule
    group.aggregate_metric_list[0].weight_by_size = True
    assert Unit(EVEN, unit.members, group, unit.metric).rule != unit.rule


@pytest.mark.parametrize(
    ("given", "more", "sentence"),
    [
        (
            ["group_mixed"],
            {},
            r"group_mixed have several output types \(multiple_choice of group_a, generate_until of ",
        ),
        (["group_metrics"], {}, r"group_metrics is scored by acc,none, and its member group_c has acc_norm: name"),
        ([SIZED], {"metric": "f1"}, r"--metric f1 is no metric of the group group_sized: it has acc, acc_norm"),
        (["group_broken"], {}, r"the task group_lost .*; it is a member of the group group_broken"),
        (["nothing_*"], {}, r"--tasks nothing_\* matches no task, group or tag"),
        ([SIZED, "group_b"], {}, r"--tasks names the task group_b twice, in group_sized and by itself: leave one"),
        ([SIZED, "group_bare"], {}, r"--tasks names the task group_a twice, in group_sized and in group_bare: leave"),
    ],
)
def test_bad_input_is_one_sentence(given: list[str], more: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SteeringError, match=sentence):
        find_units(given, group_tasks.manager(), HarnessArgs(), {}, **more)


def test_a_twin_for_a_group_is_refused(child: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(SteeringError, match=re.escape("--val_task group_d is given for group_sized in --tasks, which")):
        sweep(child, tmp_path, [SIZED], val_task=["group_d"])
