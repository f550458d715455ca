"""The leaderboard: which runs are side by side, what it says of them, and that every format is one."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from scipy import stats

from lm_eval_steer.axis.record import Line, Record, digest
from lm_eval_steer.cli.main import main
from lm_eval_steer.compare.runs import read_runs
from lm_eval_steer.compare.stats import Pair, compare_with_random, smallest_detectable, verdicts
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.report.tables import FORMATS, LAYOUTS, SORTS, Leaderboard, next_command, read_leaderboard, render
from lm_eval_steer.report.tables.formats import to_csv
from runs import write_record, write_run, write_sweep

VOTE = [0.25, 0.5]
#         gained          lost
BASE = [0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0]
BEST = [1, 1, 1, 1, 1, 1, 0, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0]
VOTED = [1, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0]
RANDOM = [[*BASE[:18], 1, 0], [*BASE[:18], 0, 1], [*BASE[:17], 1, 1, 1]]


def floats(scores: list[int]) -> list[float]:
    return [float(score) for score in scores]


ARMS: dict[str, tuple[Any, list[float]]] = {
    "baseline": (0, floats(BASE)),
    "best": (0.5, floats(BEST)),
    "vote": (VOTE, floats(VOTED)),
    **{f"random:{seed} best": (0.25, floats(scores)) for seed, scores in enumerate(RANDOM, start=1)},
    "negated best": (0.25, floats(BASE)),
    "negated vote": (VOTE, floats(BASE)),
    "identity": (0, floats(BASE)),
    "self-consistency": (VOTE, floats(BEST)),
}
STEERED = ["best", "vote", "random:1 best", "random:2 best", "random:3 best", "negated best", "negated vote"]


def read(*folders: Path, **options: Any) -> Leaderboard:
    return read_leaderboard(list(folders), **options)


def entries(*folders: Path, **options: Any) -> list[dict[str, Any]]:
    return read(*folders, **options).entries()


def text(board: Leaderboard, form: str = "rich", layout: str = "flat", width: int = 120) -> str:
    console = Console(width=width, file=io.StringIO())
    return render(board, form, layout, console) or console.file.getvalue()  # type: ignore[attr-defined]


def lines(board: Leaderboard, layout: str = "flat") -> list[dict[str, str]]:
    """Of the first metric; tests/test_metrics.py and tests/test_rivals.py have the tables behind it."""
    blocks = [block for block in board.blocks(layout) if layout != "flat" or {"arm", "verdict"} <= set(block.columns)]
    return [dict(zip(block.columns, cells, strict=True)) for block in blocks for cells in block.rows]


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("swept")
    write_sweep(folder, ARMS)
    return folder


# What a row says


def test_a_sweep_is_one_row_with_the_keys_that_were_asked_for(swept: Path) -> None:
    (row,) = entries(swept)
    wanted = {"child": "child", "parent": "parent", "task": "toy", "n": 20, "vector": "v", "group": "toy"}
    wanted |= {"baseline": 0.3, "best": 0.55, "best_alpha": 0.5, "vote": 0.25, "vote_size": 2, "sweep": True}
    assert {key: pytest.approx(value) if isinstance(value, float) else value for key, value in wanted.items()} == {
        key: row[key] for key in wanted
    }
    assert set(row["changes"]) == {*STEERED, "identity", "self-consistency"}
    for change in row["changes"].values():
        assert {"low", "high", "mcnemar_p", "holm_p", "mde", "verdict"} <= set(change)
    assert row["tokens"] == {"baseline": 200, "best": 200, "vote": 400, "identity": 200, "self-consistency": 400} | {
        "random:1 best": 200, "random:2 best": 200, "random:3 best": 200, "negated best": 200, "negated vote": 400
    }  # fmt: skip
    assert row["seconds"] == {"validation": 30.0, "test": 60.0}  # of the vector, without its controls


def test_a_change_by_hand(swept: Path) -> None:
    (row,) = entries(swept)
    best, vote = row["changes"]["best"], row["changes"]["vote"]
    assert best["change"] == pytest.approx(0.25)
    assert best["percent"] == pytest.approx(100 * 0.25 / 0.3)
    assert (best["gained"], best["lost"], best["texts_changed"]) == (6, 1, 7)
    assert best["mcnemar_p"] == pytest.approx(2 * (1 + 7) / 2**7)  # 1 or no loss of 7, both ways
    assert (vote["gained"], vote["lost"]) == (1, 2)
    assert vote["mcnemar_p"] == 1
    assert vote["mde"] is None  # 3 discordant documents, at a level of 5 % / 7
    assert best["holm_p"] == pytest.approx(7 * best["mcnemar_p"])  # the smallest of seven
    assert best["verdict"] == "no evidence at this n"


def test_the_statistics_are_those_of_the_family(swept: Path) -> None:
    board = read(swept)
    (row,) = board.entries()
    family = {name: Pair(floats(BASE), ARMS[name][1]) for name in STEERED}
    found = board.families[0]  # tests/test_rivals.py has the other
    assert (found.child, found.task, set(found.tests)) == ("org/child", "toy", set(STEERED))
    for name, expected in verdicts(family).items():
        shown = row["changes"][name]
        for key in ("low", "high", "mcnemar_p", "holm_p", "mde"):
            assert shown[key] == getattr(expected, key), (name, key)
        assert shown["in_family"]
    note = next(note for note in board.notes if note.startswith("Family"))
    assert note.startswith("Family of child x toy (Holm over 7 tests): ")
    assert all(name in note for name in STEERED)


def test_controls_that_steer_nothing_are_tested_alone(swept: Path) -> None:
    (row,) = entries(swept)
    for name in ("identity", "self-consistency"):
        change = row["changes"][name]
        assert not change["in_family"]
        assert change["holm_p"] == change["mcnemar_p"]
    assert row["changes"]["self-consistency"]["mde"] == smallest_detectable(20, 7 / 20)
    (line,) = [line for line in lines(read(swept)) if line["arm"].startswith("self-consistency")]
    assert (line["p"], line["Holm p"]) == ("0.12", "(0.12)")


def test_random_controls_are_a_mean_a_range_and_a_comparison(swept: Path) -> None:
    (row,) = entries(swept)
    random = row["random"]["best"]
    assert (random["seeds"], random["least"], random["most"]) == (3, 0.35, 0.45)
    assert random["mean"] == pytest.approx((0.35 + 0.35 + 0.45) / 3)
    expected = compare_with_random(floats(BEST), [floats(scores) for scores in RANDOM])
    assert (random["low"], random["high"], random["p"]) == (expected.low, expected.high, expected.p)
    assert (random["level"], random["verdict"]) == (0.9, expected.word)
    assert "vote" not in row["random"]
    shown = {line["arm"]: line for line in lines(read(swept))}
    assert shown["random best, 3 seeds"]["95 % interval"] == "seeds 35.0 to 45.0"
    assert shown["best - random"]["95 % interval"].startswith("90 %: ")
    assert not any(arm.startswith("random:") for arm in shown)


def test_one_random_control_is_shown_and_not_compared(tmp_path: Path) -> None:
    write_sweep(tmp_path, {name: ARMS[name] for name in ("baseline", "best", "random:1 best")})
    board = read(tmp_path)
    (row,) = board.entries()
    assert row["random"]["best"]["seeds"] == 1
    assert row["random"]["best"]["verdict"] is None
    assert "random:1 best, α = 0.25" in {line["arm"] for line in lines(board)}
    assert any("--controls random:5" in note for note in board.notes)


def test_helps_hurts_and_a_vector_better_than_random(tmp_path: Path) -> None:
    base, half = [0.0] * 40, [0.0, 1.0] * 20
    write_sweep(tmp_path / "up", {"baseline": (0, base), "best": (1, [1.0] * 40)} | {
        f"random:{i} best": (1, base) for i in (1, 2, 3, 4, 5)
    })  # fmt: skip
    write_sweep(tmp_path / "down", {"baseline": (0, half), "best": (1, base)}, task="other")
    up, down = sorted(entries(tmp_path), key=lambda row: -row["best"])
    assert up["changes"]["best"]["verdict"] == "helps"
    assert up["changes"]["best"]["percent"] is None  # of nothing
    assert up["random"]["best"]["verdict"] == "better than random"
    assert down["changes"]["best"]["verdict"] == "hurts"
    assert down["changes"]["best"]["percent"] == -100


def test_a_metric_of_which_less_is_better(tmp_path: Path) -> None:
    less = {"higher_is_better": {"toy": {"words": False}}}
    write_run(tmp_path / "a", [8.0 + i / 10 for i in range(12)], metric="words", patch=less)
    write_run(tmp_path / "b", [6.0 + i / 20 for i in range(12)], metric="words", alpha=1, patch=less)
    (row,) = entries(tmp_path)
    change = row["changes"]["1"]
    assert change["verdict"] == "helps"
    assert change["low"] < change["change"] < change["high"] < 0
    assert change["gained"] is None
    around = stats.t.interval(0.95, 11, 8.55, np.std([i / 10 for i in range(12)], ddof=1) / 12**0.5)
    assert (row["scores"]["baseline"]["low"], row["scores"]["baseline"]["high"]) == pytest.approx(around)


def test_better_than_random_where_less_is_better(tmp_path: Path) -> None:
    high = [8.0 + i / 10 for i in range(20)]
    arms: dict[str, tuple[Any, list[float]]] = {"baseline": (0, high), "best": (1, [x - 7 for x in high])}
    arms |= {f"random:{seed} best": (1, [x + seed / 100 for x in high]) for seed in (1, 2, 3)}
    write_sweep(tmp_path, arms, metric="words", patch={"higher_is_better": {"toy": {"words": False}}})
    random = entries(tmp_path)[0]["random"]["best"]
    assert random["verdict"] == "better than random"
    assert random["difference"] == pytest.approx(-7.02)  # the mean of the three is 0.02 above the baseline
    assert random["low"] < random["difference"] < random["high"] < 0


def test_documents_that_repeat_are_tested_as_documents(tmp_path: Path) -> None:
    def repeat(path: Path) -> None:
        (file,) = path.parent.glob("samples_*.jsonl")
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        for row in rows:
            row["doc_hash"] = str(row["doc_id"] // 4)
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))

    repeat(write_run(tmp_path / "a", [0.0] * 16))
    repeat(write_run(tmp_path / "b", [1.0] * 16, alpha=1))
    board = read(tmp_path)
    change = board.entries()[0]["changes"]["1"]
    assert change["by_document"]
    assert change["mcnemar_p"] == pytest.approx(2 / 2**4)  # four documents, not sixteen
    assert any("Some documents occur more than once" in note for note in board.notes)


# Which runs are side by side


def test_a_pair_by_hand_outside_a_sweep(tmp_path: Path) -> None:
    #                                 lost  lost              gained
    write_run(tmp_path / "base", [0.0, 1.0, 1.0, 1.0, 0.0, 0.0])
    changed = ["score 0.0", "x", "x", "score 1.0", "x", "changed, still wrong"]
    write_run(tmp_path / "steered", [0.0, 0.0, 0.0, 1.0, 1.0, 0.0], alpha=0.5, responses=changed)
    board = read(tmp_path / "steered", tmp_path / "base")
    (row,) = board.entries()
    assert (row["best"], row["best_alpha"], row["vote"]) == (None, None, None)  # nobody chose it on validation
    change = row["changes"]["0.5"]
    assert (change["gained"], change["lost"], change["texts_changed"], change["mcnemar_p"]) == (1, 2, 4, 1)
    assert [line["arm"] for line in lines(board)] == ["baseline", "α = 0.5"]
    assert lines(board)[0]["95 % interval"] == "18.8 to 81.2"


def test_strengths_outside_a_sweep_are_rows_of_their_own_and_none_is_called_best(tmp_path: Path) -> None:
    for alpha in (None, 0.5, -0.25, 0.25):
        write_run(tmp_path, [0.0, 1.0], alpha=alpha)
    board = read(tmp_path)
    assert [list(row["changes"]) for row in board.entries()] == [["0.25"], ["-0.25"], ["0.5"]]
    assert not any("best" in line["arm"] for line in lines(board))
    assert any("would be a choice on the test set" in note for note in board.notes)
    assert set(board.families[0].tests) == {"alpha 0.25", "alpha -0.25", "alpha 0.5"}


def test_strength_0_is_no_baseline_where_it_steered(tmp_path: Path) -> None:
    """As under the operator `set`; the file says so."""
    write_run(tmp_path, [0.0, 1.0], alpha=0.0)
    write_run(tmp_path, [1.0, 1.0], alpha=0.0, steering={"operator": "set", "steers": True}, operator="set")
    (row,) = entries(tmp_path)
    assert list(row["changes"]) == ["0"]


def test_votes_over_one_set_are_compared_with_their_controls(tmp_path: Path) -> None:
    def run(control: str | None, scores: list[float], alphas: list[float] = VOTE) -> None:
        given = {"control": control} if control else {}
        write_run(tmp_path, scores, alpha=alphas, steering={"control": control, "vector": "5ha"}, **given)  # type: ignore[arg-type]

    write_run(tmp_path, floats(BASE))
    run(None, floats(BEST))
    for seed in (1, 2):
        run(f"random:{seed}", floats(RANDOM[seed]))
    run("self-consistency", floats(VOTED))
    run(None, floats(VOTED), [0.5, 1.0])
    one, other = entries(tmp_path)
    assert set(one["changes"]) == {"vote", "random:1 vote", "random:2 vote", "self-consistency"}
    assert one["random"]["vote"]["seeds"] == 2
    assert set(other["changes"]) == {"vote"}
    assert (one["vote_size"], one["best"], other["vote"]) == (2, None, 0.25)


def test_controls_of_another_folder_join_their_vector(tmp_path: Path) -> None:
    """Runs are joined by what they are: model, vector, strengths; what differs in one of them is a row apart."""

    def run(folder: str, scores: list[int], control: str | None, alpha: Any, vector: str = "5ha") -> None:
        given = {"control": control} if control else {}
        steering = {"control": control, "vector": vector, "unit": "alpha"}
        write_run(tmp_path / folder, floats(scores), alpha=alpha, steering=steering, **given)  # type: ignore[arg-type]

    arms = {name: ARMS[name] for name in ("baseline", "best", "vote")} | {"random:1 vote": (VOTE, floats(RANDOM[0]))}
    write_sweep(tmp_path / "sweep", arms)
    run("elsewhere", RANDOM[1], "random:2", VOTE)
    run("elsewhere", RANDOM[2], "random:1", VOTE)  # is in the sweep already
    run("elsewhere", RANDOM[2], "random:3", 0.5)  # was not searched like the best
    run("elsewhere", RANDOM[2], "random:4", [0.5, 1.0])
    run("elsewhere", RANDOM[2], "random:5", VOTE, vector="other")
    rows = entries(tmp_path)
    assert [set(row["changes"]) for row in rows if row["sweep"]] == [
        {"best", "vote", "random:1 vote", "random:2 vote", "random:3 0.5"}
    ]
    assert rows[0]["random"]["vote"]["seeds"] == 2
    assert "best" not in rows[0]["random"]
    apart = [list(row["changes"]) for row in rows if not row["sweep"]]
    assert sorted(apart) == [["random:1 vote"], ["random:4 vote"], ["random:5 vote"]]


def test_one_strength_is_compared_with_random_vectors_of_that_strength(tmp_path: Path) -> None:
    write_run(tmp_path / "base", floats(BASE))
    write_run(tmp_path / "own", floats(BEST), alpha=0.5, steering={"vector": "5ha"})
    for seed in (1, 2):
        control = f"random:{seed}"
        steering = {"vector": "5ha", "control": control}
        write_run(tmp_path / control, floats(RANDOM[seed]), alpha=0.5, control=control, steering=steering)
    (row,) = entries(tmp_path)
    assert set(row["changes"]) == {"0.5", "random:1 0.5", "random:2 0.5"}
    assert row["random"]["0.5"]["seeds"] == 2
    assert [line["arm"] for line in lines(read(tmp_path))] == [
        "baseline",
        "α = 0.5",
        "random 0.5, 2 seeds",
        "0.5 - random",
    ]


def test_a_model_is_its_weights_wherever_it_lies(tmp_path: Path) -> None:
    write_run(tmp_path / "a", [0.0, 1.0], child="here/tiny", alpha=0, steering={"weights": "1" * 64})
    write_run(tmp_path / "b", [1.0, 1.0], child="/there/tiny", alpha=1, steering={"weights": "1" * 64})
    (row,) = entries(tmp_path)
    assert (row["child"], row["baseline"], list(row["changes"])) == ("tiny", 0.5, ["1"])


def test_other_weights_of_the_same_name_are_not_compared(tmp_path: Path) -> None:
    write_run(tmp_path / "a", [0.0, 1.0], alpha=0, steering={"weights": "1" * 64})
    write_run(tmp_path / "b", [1.0, 1.0], alpha=1, steering={"weights": "2" * 64})
    board = read(tmp_path)
    assert not any(row["changes"] for row in board.entries())
    assert [group.differs for group in board.groups] == [{"weights": "11111111"}, {"weights": "22222222"}]


def test_a_baseline_that_tells_no_weights_goes_by_name_where_that_is_one_model(tmp_path: Path) -> None:
    write_run(tmp_path / "plain", [0.0, 1.0])
    write_run(tmp_path / "a", [1.0, 1.0], alpha=1, steering={"weights": "1" * 64}, log_samples=False)
    (row,) = entries(tmp_path)
    assert (row["baseline"], list(row["changes"])) == (0.5, ["1"])
    write_run(tmp_path / "b", [1.0, 1.0], alpha=2, steering={"weights": "2" * 64})
    assert not any(row["changes"] for row in entries(tmp_path))  # it may be of either


def test_vectors_of_one_sweep_are_rows_that_share_baseline_controls_and_family(tmp_path: Path) -> None:
    write_sweep(tmp_path, {"baseline": (0, floats(BASE))})
    state = json.loads((tmp_path / "sweep.json").read_text())
    arms = {("own", "5ha"): BEST, ("mapped", "7ha"): VOTED, "random:1": RANDOM[0], "random:2": RANDOM[1]}
    for who, scores in arms.items():
        name, vector = who if isinstance(who, tuple) else (who, "5ha")
        control = None if isinstance(who, tuple) else who
        steering = {"vector": vector, "control": control}
        path = write_run(tmp_path / "arms" / "toy" / name.replace(":", "-"), floats(scores), alpha=1, steering=steering)
        state["tasks"]["toy"]["test"][f"{name} best"] = {
            "role": "best",
            "vector": None if control else name,
            "control": "random" if control else None,
            "seed": int(name[-1]) if control else None,
            "alpha": 1,
            "result": path.relative_to(tmp_path).as_posix(),
            **{"n": 20, "responses": 20, "skipped": 0},
        }
    (tmp_path / "sweep.json").write_text(json.dumps(state | {"settings": {"vectors": {"own": "5ha", "mapped": "7ha"}}}))
    board = read(tmp_path)
    own, mapped = sorted(board.entries(), key=lambda row: -row["best"])
    assert (own["vector"], mapped["vector"]) == ("own: v", "mapped: v")
    assert own["baseline"] == mapped["baseline"] == 0.3
    assert set(own["changes"]) == {"best", "random:1 best", "random:2 best"}
    assert set(mapped["changes"]) == {"best"}
    for row, scores in ((own, BEST), (mapped, VOTED)):
        expected = compare_with_random(floats(scores), [floats(scores) for scores in RANDOM[:2]])
        assert row["random"]["best"]["p"] == expected.p
    family, rivals = board.families
    assert rivals.tests == ["best - own best"]
    assert set(family.tests) == {
        "best [own: v]",
        "best [mapped: v]",
        "random:1 best [own: v]",
        "random:2 best [own: v]",
    }


def test_a_single_control_run_is_named(tmp_path: Path) -> None:
    write_run(tmp_path, [0.0, 1.0])
    write_run(tmp_path, [1.0, 1.0], alpha=0.5, control="random:3", steering={"control": "random:3"})
    write_run(tmp_path, [1.0, 1.0], alpha=0, control="identity", steering={"control": "identity"})
    assert [list(row["changes"]) for row in entries(tmp_path)] == [["identity"], ["random:3 0.5"]]
    assert [line["arm"] for line in lines(read(tmp_path))] == ["baseline", "identity", "baseline", "random:3 α = 0.5"]


def test_a_baseline_alone_is_a_row(tmp_path: Path) -> None:
    write_run(tmp_path, [0.0, 1.0], alpha=0)
    (row,) = entries(tmp_path)
    assert (row["baseline"], row["parent"], row["changes"]) == (0.5, "-", {})
    assert "baseline" in text(read(tmp_path))


def test_a_steered_run_without_a_baseline_says_what_is_missing(tmp_path: Path) -> None:
    write_run(tmp_path, [0.0, 1.0], alpha=0.5)
    board = read(tmp_path)
    (line,) = lines(board)
    assert (line["score"], line["verdict"]) == ("50.0%", "no baseline here: run the same command with alpha=0")
    assert "Family" not in " ".join(board.notes)


def test_documents_are_paired_by_what_they_are_not_by_place(tmp_path: Path) -> None:
    write_run(tmp_path / "base", [0.0, 0.0, 1.0])
    path = write_run(tmp_path / "steered", [0.0, 0.0, 1.0], alpha=0.5)
    (samples,) = path.parent.glob("samples_*.jsonl")
    samples.write_text("".join(reversed(samples.read_text().splitlines(keepends=True))))
    change = entries(tmp_path)[0]["changes"]["0.5"]
    assert (change["texts_changed"], change["gained"], change["lost"]) == (0, 0, 0)


@pytest.mark.parametrize(
    ("other", "named"),
    [
        ({"first_doc": 1}, {"which documents"}),
        ({"prompt": "Say {}"}, {"prompts"}),
        ({"metric": "acc"}, {"metric"}),
        ({"peft": "org/adapter", "child": "org/child"}, None),
        ({"load_in_8bit": True}, {"model argument load_in_8bit"}),
        ({"patch": {"n-shot": {"toy": 5}}}, {"shots"}),
        ({"patch": {"chat_template_sha": "d2a4"}}, {"chat template"}),
        ({"patch": {"system_instruction": "Be good."}}, {"system prompt"}),
        ({"patch": {"config": {"model_dtype": "torch.bfloat16"}}}, {"dtype"}),
        ({"patch": {"config": {"model_revision": "v2"}}}, {"model revision"}),
        ({"patch": {"config": {"model": "vllm"}}}, {"engine"}),
        ({"patch": {"versions": {"toy": 2.0}}}, {"task version"}),
        ({"patch": {"configs": {"toy": {"generation_kwargs": {"max_gen_toks": 64}}}}}, {"generation max_gen_toks"}),
        ({"patch": {"n-samples": {"toy": {"original": 99}}}}, {"limit"}),
        (
            {"alpha": 0, "steering": {"system_prompt": "merged into the first user turn"}},
            {"system_role"},
        ),
    ],
    ids=str,
)
def test_what_cannot_be_compared_is_apart_and_the_difference_is_named(
    other: dict[str, Any], named: set[str] | None, tmp_path: Path
) -> None:
    write_run(tmp_path / "base", [0.0, 1.0], **other)
    write_run(tmp_path / "steered", [1.0, 1.0], alpha=0.5)
    board = read(tmp_path)
    assert not any(row["changes"] for row in board.entries())
    assert len(board.rows) == 2
    if named is None:  # the harness names the adapter as the model
        return
    first, second = board.groups
    assert {first.name, second.name} == {"toy (A)", "toy (B)"}
    assert set(first.differs) == set(second.differs) == named
    for name in named:
        assert first.differs[name] != second.differs[name]
        assert f"{name}: " in " ".join(text(board).split())
    assert [block.title.split(",")[0] for block in board.blocks() if "verdict" in block.columns] == [
        "toy (A)",
        "toy (B)",
    ]


def test_fewer_documents_are_named_as_the_limit(tmp_path: Path) -> None:
    write_run(tmp_path / "base", [0.0, 1.0, 1.0])
    write_run(tmp_path / "steered", [1.0, 1.0], alpha=0.5)
    assert [group.differs for group in read(tmp_path).groups] == [
        {"limit": "3 of 100 documents"},
        {"limit": "2 of 100 documents"},
    ]


def test_groups_keep_one_family(tmp_path: Path) -> None:
    """Looking twice at a child and a task is two tests, whatever the conditions."""
    for dtype in ("float32", "bfloat16"):
        patch = {"config": {"model_dtype": f"torch.{dtype}"}}
        write_run(tmp_path / dtype, [0.0] * 12, patch=patch)
        write_run(tmp_path / dtype, [1.0] * 12, alpha=1, patch=patch)
    board = read(tmp_path)
    (family,) = board.families
    assert family.tests == ["alpha 1 [A]", "alpha 1 [B]"]
    assert [row["changes"]["1"]["holm_p"] for row in board.entries()] == [pytest.approx(4 / 2**12)] * 2


def test_children_with_templates_of_their_own_share_a_table(tmp_path: Path) -> None:
    for child in ("org/a", "org/b"):
        patch = {"chat_template_sha": child}
        write_run(tmp_path, [0.0, 1.0], child=child, prompt=f"<{child}> {{}}", patch=patch)
        write_run(tmp_path, [1.0, 1.0], child=child, prompt=f"<{child}> {{}}", patch=patch, alpha=1)
    board = read(tmp_path)
    assert [group.name for group in board.groups] == ["toy"]
    assert [(row["child"], list(row["changes"])) for row in board.entries()] == [("a", ["1"]), ("b", ["1"])]
    assert len(board.families) == 2


def test_tasks_and_children_are_apart(tmp_path: Path) -> None:
    write_run(tmp_path, [0.0, 1.0])
    write_run(tmp_path, [0.0, 1.0], child="org/other", alpha=1)
    write_run(tmp_path, [0.0, 1.0], task="other", alpha=1)
    assert not any(row["changes"] for row in entries(tmp_path))


def test_models_of_the_same_name_are_told_apart(tmp_path: Path) -> None:
    write_run(tmp_path, [0.0, 1.0], child="one/tiny")
    write_run(tmp_path, [0.0, 1.0], child="two/tiny")
    assert [row["child"] for row in entries(tmp_path)] == ["one/tiny", "two/tiny"]


def test_a_run_without_samples_has_its_own_interval_and_names_the_flag(tmp_path: Path) -> None:
    write_run(tmp_path / "base", [0.0, 1.0, 1.0, 1.0])
    write_run(tmp_path / "steered", [1.0, 1.0, 1.0, 1.0], alpha=0.5, log_samples=False)
    board = read(tmp_path)
    (row,) = board.entries()
    assert row["scores"]["0.5"]["low"] == pytest.approx(4 / (4 + 1.959964**2))  # Wilson, all right
    change = row["changes"]["0.5"]
    assert (change["change"], change["low"], change["holm_p"]) == (0.25, None, None)
    assert change["verdict"] == "not paired: run both with --log_samples"
    assert not board.families
    assert "--log_samples" in next_command(board)[1]
    assert any(note.startswith("not paired") for note in board.notes)


def test_a_baseline_without_samples_leaves_its_runs_unpaired(tmp_path: Path) -> None:
    write_run(tmp_path / "base", [0.0, 1.0], log_samples=False)
    write_run(tmp_path / "steered", [1.0, 1.0], alpha=0.5)
    (row,) = entries(tmp_path)
    assert (row["changes"]["0.5"]["change"], row["changes"]["0.5"]["low"]) == (0.5, None)
    assert row["changes"]["0.5"]["verdict"] == "not paired: run both with --log_samples"


def test_a_run_without_samples_that_fits_two_groups_is_in_neither(tmp_path: Path) -> None:
    write_run(tmp_path / "a", [0.0, 1.0])
    write_run(tmp_path / "b", [0.0, 1.0], first_doc=7)
    write_run(tmp_path / "c", [1.0, 1.0], alpha=1, log_samples=False)
    board = read(tmp_path)
    assert [group.differs["which documents"] for group in board.groups][2] == "unknown without --log_samples"
    assert not any(row["changes"] for row in board.entries())


def test_other_settings_of_a_vector_are_rows_that_say_so(tmp_path: Path) -> None:
    write_run(tmp_path, [0.0, 1.0])
    for tokens in ("all", "prompt"):
        write_run(tmp_path, [1.0, 1.0], alpha=VOTE, tokens=tokens, steering={"tokens": tokens})  # type: ignore[arg-type]
    assert [row["vector"] for row in entries(tmp_path)] == ["v", "v tokens=prompt"]


def test_vectors_of_one_name_are_told_apart(tmp_path: Path) -> None:
    write_run(tmp_path, [0.0, 1.0])
    for alpha, sha in ((0.5, "11112222aa"), (1, "33334444bb")):
        write_run(tmp_path, [1.0, 1.0], alpha=alpha, steering={"vector": sha})
    assert [row["vector"] for row in entries(tmp_path)] == ["v (11112222)", "v (33334444)"]


def test_scores_that_are_no_numbers_per_document_name_no_flag(tmp_path: Path) -> None:
    write_run(tmp_path / "a", [float("inf"), 1.0], metric="words")
    write_run(tmp_path / "b", [float("inf"), 2.0], metric="words", alpha=1)
    board = read(tmp_path)
    (row,) = json.loads(text(board, "json"))["rows"]
    assert (row["baseline"], row["changes"]["1"]["change"]) == (None, None)  # JSON has no infinity
    assert row["changes"]["1"]["verdict"] == "not paired: the metric is no number per document"
    assert "--log_samples" not in next_command(board)[1]


def test_per_layer_arms_are_compared_with_those_of_random_vectors(tmp_path: Path) -> None:
    arms = {"baseline": (0, floats(BASE)), "best": (0.5, floats(VOTED)), "per-layer": (0.5, floats(BEST))}
    arms |= {f"random:{seed} per-layer": (0.5, floats(RANDOM[seed])) for seed in (1, 2)}
    write_sweep(tmp_path, arms)
    board = read(tmp_path)
    assert board.entries()[0]["random"]["per-layer"]["seeds"] == 2
    shown = [line["arm"] for line in lines(board)]
    wanted = ["baseline", "best, α = 0.5", "per-layer, α = 0.5", "random per-layer, 2 seeds", "per-layer - random"]
    assert shown == wanted


def test_two_baselines_that_differ_are_told_of(tmp_path: Path) -> None:
    write_sweep(tmp_path / "a", {"baseline": (0, [0.0, 1.0]), "best": (1, [1.0, 1.0])})
    write_sweep(tmp_path / "b", {"baseline": (0, [1.0, 1.0]), "best": (1, [1.0, 1.0])})
    board = read(tmp_path)
    assert [row["baseline"] for row in board.entries()] == [0.5, 1.0]
    assert any("Two baselines of child x toy differ in 1 of 2 responses" in note for note in board.notes)


# Cost


def test_tokens_of_a_plain_run_come_from_its_record(tmp_path: Path) -> None:
    def line(alpha: float, doc: int, settings: str) -> Line:
        prompt = digest([f"{doc}+1="])
        return Line(
            fingerprint=digest([alpha, doc]), settings=settings, kind="generation", task="toy", doc_id=doc, repeat=0,
            prompt=prompt, alpha=alpha, variant="", response="", scores=None, answer=None, tokens=7, logprob=None,
            stop=None, time=0.0, seconds=0.0,
        )  # fmt: skip

    contents = [{"model": "org/child", "normalize": one} for one in (False, True)]
    with Record(tmp_path / "record") as record:
        plain, steered = (record.declare(content) for content in ({"model": "org/child"}, contents[0]))
        for doc in range(5):  # more than the run has
            record.append(line(0.0, doc, plain))
        record.append(line(1.0, 0, steered))
        record.append(line(1.0, 1, record.declare(contents[1])))  # of another run
    for alpha, settings in ((0, plain), (1, steered)):
        more = {"settings": [settings]}
        write_run(tmp_path / "out", [0.0, 1.0], alpha=alpha, record="record", steering=more)
    (row,) = entries(tmp_path / "out")
    assert row["tokens"] == {"baseline": 14, "1": None}  # one of two responses is missing


def test_the_record_is_the_one_with_the_settings_of_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Records of the usual name lie above the results, and where the leaderboard is called."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    write_run(tmp_path / "runs" / "a", [0.0, 1.0])
    steering = {"vector": "5ha", "unit": "alpha", "control": None}
    write_run(tmp_path / "runs" / "b", [1.0, 0.0], alpha=1.0, record="steer_records", steering=steering)
    answers = {"here": (2.0, 7), "runs": (1.0, 3), ".": (0.5, 9)}
    for place, (alpha, words) in answers.items():
        write_record(tmp_path / place / "steer_records", {("", alpha): [("w " * words, "2")] * 2})
    (row,) = entries(tmp_path / "runs")
    assert row["tokens"] == {"baseline": None, "1": 6}


def test_seconds_of_a_plain_run(tmp_path: Path) -> None:
    write_run(tmp_path, [0.0], patch={"total_evaluation_time_seconds": "3.5"})
    assert entries(tmp_path)[0]["seconds"] == {"baseline": 3.5}


# Sweeps that are not whole, versions


def test_a_sweep_that_is_not_finished(tmp_path: Path) -> None:
    write_sweep(tmp_path, {"baseline": (0, [0.0, 1.0])}, complete=False)
    write_run(tmp_path / "arms" / "toy" / "best.part", [1.0])
    assert any(f"The sweep in {tmp_path} is not finished" in note for note in read(tmp_path).notes)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"version": 1}, "is of version 1, but this lm_eval_steer reads version 2"),
        ({"tasks": 3}, "is no whole sweep.json"),
        ({"tasks": {"toy": {"test": {"best": 3}}}}, "is no whole sweep.json"),
    ],
)
def test_a_sweep_json_that_cannot_be_read(change: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    write_sweep(tmp_path, {"best": (1, [1.0])}, state=change)
    with pytest.raises(SteeringError, match=re.escape(sentence)) as caught:
        read(tmp_path)
    assert "\n" not in str(caught.value)
    assert str(tmp_path / "sweep.json") in str(caught.value)


def test_a_half_written_sweep_json(tmp_path: Path) -> None:
    path = write_sweep(tmp_path, {"best": (1, [1.0])})
    path.write_text(path.read_text()[:50])
    with pytest.raises(SteeringError, match=r"is no whole sweep\.json"):
        read(tmp_path)


def test_a_sweep_without_an_arm(tmp_path: Path) -> None:
    (tmp_path / "sweep.json").write_text("{}")
    with pytest.raises(SteeringError, match="has no arm yet: start its command again"):
        read(tmp_path)


ENTRY = {"role": "best", "alpha": 1, "result": "", "n": 1, "responses": 1, "skipped": 0}


@pytest.mark.parametrize(
    ("part", "value", "why"),
    [
        ("validation.scores", {"vector": "x"}, "scores.vector is 'x', expected an object"),
        ("validation.scores", {"vector": {"0.5": "NaN"}}, "scores.vector.0.5 is 'NaN', expected a number or null"),
        ("validation.scores", {"vector": {"x": 1}}, "a key of its content.tasks.toy.validation.scores.vector is 'x'"),
        ("validation.scores", {"odd one": {}}, "is 'odd one', expected vector, the name of a vector, a control"),
        ("validation.n", "x", "n is 'x', expected a whole number"),
        ("validation.task", None, "task is None, expected text"),
        ("passes", {"toy": {"task": "toy", "seconds": "1"}}, "seconds is '1', expected seconds"),
        ("test", {"best": ENTRY | {"tokens": "x"}}, "tokens is 'x', expected a whole number"),
        ("test", {"": ENTRY}, "is '', expected 'best'"),
        ("test", {"best": ENTRY | {"role": "first"}}, "role is 'first', expected one of baseline, best, vote"),
        ("test", {"random:x best": ENTRY | {"control": "random", "seed": 1}}, "expected 'random:1 best'"),
        ("test", {"random best": ENTRY | {"control": "random"}}, "the control random has the seed None"),
        ("test", [], "test is [], expected an object"),
    ],
    ids=str,
)
def test_a_sweep_json_is_checked_and_the_others_stand(part: str, value: Any, why: str, tmp_path: Path) -> None:
    bad = write_sweep(tmp_path / "bad", {"baseline": (0, [0.0]), "best": (1, [1.0])}, complete=True)
    state = place = json.loads(bad.read_text())
    place = state["tasks"]["toy"]
    *keys, last = part.split(".")
    for key in keys:
        place = place[key]
    place[last] = value
    bad.write_text(json.dumps(state))
    write_sweep(tmp_path / "good", {"baseline": (0, [1.0])})
    board = read(tmp_path)
    assert [row["baseline"] for row in board.entries()] == [1.0]  # no arm of the other is taken for a plain run
    (told,) = [note for note in board.notes if note.startswith("Left out: ")]
    assert str(bad) in told
    assert why in told


def test_a_score_that_is_nan_is_left_out_and_the_others_stand(tmp_path: Path) -> None:
    arms = {"baseline": (0, [0.0, 1.0]), "best": (0.5, [1.0, float("nan")]), "vote": ([0.5, 1.0], [1.0, 1.0])}
    write_sweep(tmp_path, arms)
    board = read(tmp_path)
    (row,) = board.entries()
    assert list(row["changes"]) == ["vote"]
    assert [note for note in board.notes if note.startswith("Left out: ") and "the score of toy is NaN" in note]
    for form in FORMATS:
        text(board, form)
    with pytest.raises(SteeringError, match="the score of toy is NaN"):
        read(tmp_path / "arms" / "toy" / "best")


def test_versions_of_the_harness_are_told_of(tmp_path: Path) -> None:
    write_run(tmp_path, [0.0, 1.0], patch={"lm_eval_version": "0.4.12"})
    write_run(tmp_path, [0.0, 1.0], alpha=1, patch={"lm_eval_version": "0.4.13"})
    assert "These results are from several versions of lm_eval: 0.4.12, 0.4.13." in read(tmp_path).notes


# Layouts


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two children, two parents and two tasks, with one pair missing."""
    folder = tmp_path_factory.mktemp("grid")
    for child, parent, task, alpha in [
        ("org/a", "p/one", "toy", 0.5),
        ("org/a", "p/two", "toy", 0.25),
        ("org/b", "p/one", "toy", 0.1),
        ("org/a", "p/one", "other", 0.2),
    ]:
        name = f"{child}-{parent}-{task}".replace("/", "_")
        arms = {"baseline": (0, [0.0] * 15), "best": (alpha, [1.0] * 15 if child == "org/a" else [0.0] * 14 + [1.0])}
        write_sweep(
            folder / name, arms, task=task, child=child, steering={"transfer": {"parent": parent}, "vector": parent}
        )
    return folder


def test_table_1(grid: Path) -> None:
    first, second, third = lines(read(grid), "table1")
    assert first == {
        "parent": "one",
        "child": "a",
        "other, baseline": "0.0%",
        "other, best": "100.0% (+100.0) +",
        "toy, baseline": "0.0%",
        "toy, best": "100.0% (+100.0) +",
    }
    assert list(second.values()) == ["one", "b", "-", "-", "0.0%", "6.7% (+6.7)"]
    assert list(third.values()) == ["two", "a", "-", "-", "0.0%", "100.0% (+100.0) +"]


def test_appendix_c(grid: Path) -> None:
    assert lines(read(grid), "best_alpha") == [
        {"task": "other", "child": "a", "one": "0.2", "two": "-"},
        {"task": "toy", "child": "a", "one": "0.5", "two": "0.25"},
        {"task": "toy", "child": "b", "one": "0.1", "two": "-"},
    ]


def test_layouts_keep_groups_apart(tmp_path: Path) -> None:
    for dtype in ("float32", "bfloat16"):
        arms = {"baseline": (0, [0.0, 1.0]), "best": (0.5, [1.0, 1.0])}
        write_sweep(tmp_path / dtype, arms, patch={"config": {"model_dtype": f"torch.{dtype}"}})
    board = read(tmp_path)
    (line,) = lines(board, "table1")
    assert list(line) == ["parent", "child", *(f"toy ({x}), {y}" for x in "AB" for y in ("baseline", "best"))]
    assert [line["task"] for line in lines(board, "best_alpha")] == ["toy (A)", "toy (B)"]
    for layout in ("table1", "best_alpha"):
        (block,) = board.blocks(layout)
        assert block.heading == [
            "toy (A) is not comparable with the other groups of toy: dtype: bfloat16",
            "toy (B) is not comparable with the other groups of toy: dtype: float32",
        ]


def test_two_sweeps_of_one_child_and_parent_are_two_columns(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_sweep(tmp_path / name, {"baseline": (0, [0.0, 1.0]), "best": (0.5, [1.0, 1.0])})
    (line,) = lines(read(tmp_path), "best_alpha")
    assert len(line) == 4
    assert all(value == "0.5" for key, value in line.items() if key.startswith("parent"))


def test_layouts_of_chosen_strengths_need_a_sweep(tmp_path: Path) -> None:
    write_run(tmp_path, [0.0, 1.0], alpha=1)
    for layout in ("table1", "best_alpha"):
        with pytest.raises(SteeringError, match=f"--layout {layout} shows strengths that a sweep chose"):
            text(read(tmp_path), layout=layout)


# Filters and order


def test_filters_choose_rows_and_leave_the_family(grid: Path) -> None:
    assert {row["child"] for row in entries(grid, child="B")} == {"b"}
    assert {row["parent"] for row in entries(grid, parent="t?o")} == {"two"}
    board = read(grid, task="toy", child="a", parent="two")
    assert len(board.rows) == 1
    assert [len(family.tests) for family in board.families if (family.child, family.task) == ("org/a", "toy")] == [2]
    note = next(note for note in board.notes if note.startswith("Family"))
    assert "Holm over 2 tests" in note
    with pytest.raises(SteeringError, match="--child zzz leaves no row: there are a, b"):
        read(grid, child="zzz")


def test_sort(grid: Path) -> None:
    order = {sort: [(row["child"], row["parent"]) for row in entries(grid, task="toy", sort=sort)] for sort in SORTS}
    assert order["best_alpha"] == [("b", "one"), ("a", "two"), ("a", "one")]
    assert order["best"][-1] == order["change"][-1] == order["holm_p"][-1] == ("b", "one")
    assert order["parent"] == [("a", "one"), ("b", "one"), ("a", "two")]
    assert {len(rows) for rows in order.values()} == {3}
    with pytest.raises(SteeringError, match="--sort colour is no column: use one of child, "):
        read(grid, sort="colour")


# Formats


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("form", FORMATS)
def test_every_format_of_every_layout(form: str, layout: str, swept: Path, grid: Path) -> None:
    board = read(swept, grid)
    if form in ("csv", "json") and layout != "flat":
        with pytest.raises(SteeringError, match=f"--layout {layout} is a table for people, and --format {form} holds"):
            text(board, form, layout)
        return
    found = text(board, form, layout)
    count = sum(len(block.rows) for block in board.blocks(layout))
    if form == "json":
        document = json.loads(found)
        assert document["layout"] == layout
        assert document["families"][0]["tests"]
        assert len(document["rows"]) == len(board.rows)
    elif form == "csv":
        head, *rest = csv.reader(io.StringIO(found))
        assert len(rest) == len(board.rows)
        assert all(len(row) == len(head) for row in rest)
        assert len(set(head)) == len(head)
    elif form == "latex":
        assert re.sub(r"\\[{}]", "", found).count("{") == re.sub(r"\\[{}]", "", found).count("}")
        opened = re.findall(r"\\begin\{(\w+)\}", found)
        assert sorted(opened) == sorted(re.findall(r"\\end\{(\w+)\}", found))
        assert not re.search(r"(?<!\\)[_%#]", re.sub(r"^% .*|\{%$", "", found, flags=re.M))
        assert found.isascii()
        for line in found.splitlines():
            if line.endswith(r"\\"):
                assert len(re.findall(r"(?<!\\)&", line)) + 1 in {len(b.columns) for b in board.blocks(layout)}
    elif form == "markdown":
        tables = [line for line in found.splitlines() if line.startswith("|")]
        assert len(tables) == count + 2 * len(board.blocks(layout))
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in tables}
        assert widths <= {len(block.columns) + 1 for block in board.blocks(layout)}
    else:
        assert max(map(len, found.splitlines())) <= 120
        assert "\x1b" not in found


def test_the_csv_has_the_numbers_of_the_json(swept: Path) -> None:
    board = read(swept)
    (line,) = csv.DictReader(io.StringIO(text(board, "csv")))
    (row,) = json.loads(text(board, "json"))["rows"]
    assert float(line["best_holm_p"]) == row["changes"]["best"]["holm_p"]
    assert line["vote_mde"] == ""
    assert float(line["best_random_mean"]) == row["random"]["best"]["mean"]
    assert line["negated vote verdict"] == row["changes"]["negated vote"]["verdict"]
    assert (line["best_tokens"], line["seconds"]) == ("200", "90.0")


def test_names_are_text_in_every_format(tmp_path: Path) -> None:
    child = "org/<b>[red]x|y_{z}&#\\"
    write_run(tmp_path, [0.0, 1.0], child=child)
    board = read(tmp_path)
    assert "<b>[red]x|y_{z}&#" in text(board)
    assert r"\[red\]x\|y\_" in text(board, "markdown")
    assert r"y\_\{z\}\&\#\textbackslash{}" in text(board, "latex")


def test_names_steer_no_terminal_no_spreadsheet_and_no_latex(tmp_path: Path) -> None:
    write_run(tmp_path, [0.0, 1.0], child="org/=HYPERLINK(1)\x1b]0;t\x07\x9b2J\u202e", task="+t\tx")
    write_run(tmp_path, [0.0, 1.0], child="org/[*]<img src=x>", task="+t\tx")
    board = read(tmp_path)
    for form in FORMATS:
        shown = text(board, form)
        assert not set(shown) & set("\x1b\x07\x9b\u202e\t\r"), form
    assert {row["child"] for row in json.loads(text(board, "json"))["rows"]} >= {"[*]<img src=x>"}
    first, second = sorted(csv.DictReader(io.StringIO(text(board, "csv"))), key=lambda row: row["child"])
    assert (first["child"], second["child"]) == ("'=HYPERLINK(1)\\x1b]0;t\\x07\\x9b2J\\u202e", "[*]<img src=x>")
    assert first["task"] == "'+t\\tx"
    assert "&lt;img src=x&gt;" in text(board, "markdown")
    assert "\n{[}{*}{]}$<$img" in text(board, "latex")  # behind a \\\\ a bare [ or * would be its argument


def test_numbers_and_dashes_of_a_csv_stay_as_they_are() -> None:
    cells: list[object] = ["-", "-0.5", "+3.2", -0.25, None, "1e-05", "-1:30", "- x", "@a", "dose 0.1"]
    (line,) = csv.reader(io.StringIO(to_csv(["a"] * 10, [cells]).split("\n", 1)[1]))
    assert line == ["-", "-0.5", "+3.2", "-0.25", "", "1e-05", "-1:30", "'- x", "'@a", "dose 0.1"]


def test_a_terminal_of_120_columns_keeps_lines_whole(swept: Path) -> None:
    shown = text(read(swept))
    line = next(line for line in shown.splitlines() if line.startswith("best, α = 0.5"))
    assert "no evidence at this n" in line
    assert "child <- parent (v), n = 20, 1:30 spent" in shown


def test_caveats_are_told_in_words(swept: Path) -> None:
    shown = " ".join(text(read(swept)).split())
    for words in (
        "not adjusted for the family",
        '"not detectable"',
        "80 % power",
        "interval (90 %)",
        "validation rows",
    ):
        assert words in shown


# The command


def test_the_command(swept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["leaderboard", str(swept)]) == 0
    out = capsys.readouterr().out
    assert "vote of 2" in out
    assert out.splitlines()[-1] == f"  lm-eval-steer report {swept} --out report.html"
    assert main(["leaderboard", str(swept), "--format", "json", "--child", "CHILD", "--sort", "best"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["rows"][0]["child"] == "child"
    assert captured.err.splitlines()[-1] == f"  lm-eval-steer leaderboard {swept}"
    for form in ("rich", "markdown", "latex"):
        assert main(["leaderboard", str(swept), "--format", form, "--layout", "table1"]) == 0


def test_plain_runs_are_told_of_the_sweep(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path, [0.0, 1.0])
    assert main(["leaderboard", str(tmp_path)]) == 0
    assert (
        capsys.readouterr().out.splitlines()[-1].startswith("  lm-eval-steer sweep --model_args pretrained=org/child")
    )


def test_bad_input_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for argv in ([str(tmp_path / "no")], [str(tmp_path)]):
        assert main(["leaderboard", *argv]) == 2
        assert capsys.readouterr().err.count("\n") == 1
    write_run(tmp_path, [0.0, 1.0])
    for more in (["--sort", "x"], ["--child", "x"], ["--layout", "table1"], ["--layout", "x"], ["--format", "html"]):
        assert main(["leaderboard", str(tmp_path), *more]) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"lm-eval-steer leaderboard: {more[0]}")
        assert error.count("\n") == 1


@pytest.mark.parametrize("form", ["rich", "csv"])
def test_an_output_without_room_is_one_sentence(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path, [0.0, 1.0])
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert main(["leaderboard", str(tmp_path), "--format", form]) == 2
        monkeypatch.undo()
    sentence = "lm-eval-steer leaderboard: the output cannot be written (No space left on device)"
    assert capsys.readouterr().err.splitlines()[-1] == sentence


def test_a_run_is_read_once_however_its_folder_is_named(
    swept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(swept)
    assert len(read_runs([swept, Path(), Path("arms")])) == len(ARMS)
