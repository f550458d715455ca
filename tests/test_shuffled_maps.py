"""Vectors held against maps of shuffled texts: what leaderboard and page say of outcomes that are known by hand."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from conftest import make_transferred
from lm_eval_steer.compare.arms import BASELINE, Arm
from lm_eval_steer.compare.runs import read_runs
from lm_eval_steer.compare.stats import (
    BETTER_THAN_SHUFFLED,
    NOT_FROM_SHUFFLED,
    WORSE_THAN_SHUFFLED,
    Pair,
    ShuffledComparison,
    verdicts,
)
from lm_eval_steer.compare.sweep_file import VERSION
from lm_eval_steer.report.figures.style import arm_label
from lm_eval_steer.report.page.words import tell
from lm_eval_steer.report.tables import Leaderboard, read_leaderboard, render
from runs import write_run

N = 24
ALL, NONE = [1.0] * N, [0.0] * N
HALF = [1.0, 0.0] * (N // 2)
SHUFFLED = [Arm("best", "ridge", "map-shuffled", seed) for seed in (1, 2)]
RIDGE, OWN = Arm("best", "ridge"), Arm("best", "own")


def passport(**changes: Any) -> dict[str, Any]:
    texts = {"source": "task", "tasks": ["toy"], "n": 2, "rows": ["a", "b"]}
    return make_transferred(blocks=3, width=8, tokens="last", **({"texts": texts} | changes)).passport


def steering(arm: Arm) -> dict[str, Any]:
    """What a run of an arm records of its vector."""
    is_file = arm.control == "map-shuffled"
    control = f"random:{arm.seed}" if arm.control == "random" else None if is_file else arm.control
    found: dict[str, Any] = {"vector": f"{arm.vector} {arm.seed if is_file else ''}", "control": control}
    found |= {"passport": passport(shuffled=arm.seed if is_file else None)} if arm.vector == "ridge" else {}
    return found


def sweep(folder: Path, arms: dict[Arm, list[float]], **options: Any) -> Leaderboard:
    """Write a sweep of two vectors with these scores per document, and read it."""
    test: dict[str, Any] = {}
    for arm, scores in arms.items():
        more = {"alpha": 0} if arm == BASELINE else {"alpha": 1, "steering": steering(arm)}
        path = write_run(folder / "arms" / "toy" / arm.folder, scores, **(more | options))
        found = {"alpha": 1, "result": path.relative_to(folder).as_posix(), "n": N, "responses": N, "skipped": 0}
        test[arm.name] = asdict(arm) | found
    validation = {"task": "toy_val", "scores": {}, "best": {}}
    task = {"validation": validation, "test": test, "refused": {}, "passes": {}}
    state = {
        "version": VERSION,
        "complete": True,
        "settings": {"vectors": {"own": "", "ridge": ""}},
        "tasks": {"toy": task},
    }
    (folder / "sweep.json").write_text(json.dumps(state))
    return read_leaderboard([folder])


def of(board: Leaderboard, vector: str) -> dict[str, Any]:
    return next(row for row in board.entries() if row["vector"].startswith(f"{vector}:"))


def lines(board: Leaderboard) -> dict[str, dict[str, str]]:
    block, *_ = board.blocks()  # of the first metric
    told = [dict(zip(block.columns, cells, strict=True)) for cells in block.rows]
    return {line["arm"]: line for line in told if line["vector"].startswith("ridge")}


def sentences(board: Leaderboard, vector: str) -> list[str]:
    (row,) = [row for row in board.rows if row.vector.startswith(f"{vector}:")]
    return tell(row, board.names).more


# Statistics


def test_the_word_takes_every_control_and_one_direction() -> None:
    def word(*controls: list[float]) -> str:
        return ShuffledComparison(verdicts({n: Pair(one, HALF) for n, one in enumerate(controls)})).word

    assert word(NONE) == word(NONE, NONE) == BETTER_THAN_SHUFFLED
    assert word(ALL) == WORSE_THAN_SHUFFLED
    assert word(HALF) == word(NONE, HALF) == word(NONE, ALL) == NOT_FROM_SHUFFLED


def test_the_nearest_control_is_the_hardest_to_tell() -> None:
    scores = {"far": NONE, "near": [*HALF[:20], 0.0, 0.0, 0.0, 0.0], "equal": HALF}
    found = ShuffledComparison(verdicts({name: Pair(one, HALF) for name, one in scores.items()}))
    assert found.nearest == "equal"
    assert ShuffledComparison({name: found.against[name] for name in ("far", "near")}).nearest == "near"


# In a sweep


def test_a_vector_that_helps_as_its_shuffled_map_does_carries_nothing(tmp_path: Path) -> None:
    board = sweep(tmp_path, {BASELINE: NONE, OWN: ALL, RIDGE: ALL, SHUFFLED[0]: ALL})
    row = of(board, "ridge")
    assert row["changes"]["best"]["verdict"] == row["changes"]["map-shuffled:1 best"]["verdict"] == "helps"
    told = row["map_shuffled"]["best"]
    assert (told["verdict"], told["difference"], told["p"], told["seeds"]) == (NOT_FROM_SHUFFLED, 0, 1, 1)
    assert of(board, "own")["map_shuffled"] == {}  # of the vector whose map was shuffled alone
    shown = lines(board)
    assert list(shown) == ["baseline", "best, α = 1", "map-shuffled:1 best, α = 1", "best - map-shuffled"]
    assert shown["best - map-shuffled"]["verdict"] == NOT_FROM_SHUFFLED
    assert (
        "At its best strength, the vector cannot be told from what a map of texts paired at random makes of the same "
        "concept: it carries nothing of the concept that these documents could show, whatever it does to the score."
    ) in sentences(board, "ridge")
    assert not any("paired at random" in one for one in sentences(board, "own"))
    assert any(note.startswith("best - map-shuffled, vote - map-shuffled: ") for note in board.notes)


def test_a_vector_that_alone_helps_is_better_and_holm_goes_over_all_comparisons(tmp_path: Path) -> None:
    second = [*HALF[:14], *[0.0] * 10]  # 5 documents fewer than HALF: p = 2 / 2^5
    arms = {BASELINE: NONE, OWN: ALL, RIDGE: HALF, SHUFFLED[0]: NONE, SHUFFLED[1]: second}
    board = sweep(tmp_path, arms)
    told = of(board, "ridge")["map_shuffled"]["best"]
    assert (told["nearest"], told["seeds"], told["verdict"]) == ("map-shuffled:2 best", 2, NOT_FROM_SHUFFLED)
    assert (told["mean"], told["least"], told["most"]) == (pytest.approx(7 / 48), 0, pytest.approx(7 / 24))
    first, other = (told["against"][f"map-shuffled:{seed} best"] for seed in (1, 2))
    assert (first["p"], first["holm_p"]) == (pytest.approx(2 / 2**12), pytest.approx(2 * 2 / 2**12))
    assert (other["p"], other["holm_p"]) == (pytest.approx(2 / 2**5), pytest.approx(2 / 2**5))
    assert (told["p"], told["difference"]) == (other["p"], pytest.approx(5 / 24))
    (family,) = [one for one in board.families if "best - map-shuffled:1 best" in one.tests]
    assert family.tests == ["best - map-shuffled:1 best", "best - map-shuffled:2 best"]
    shown = lines(board)
    assert shown["map-shuffled best, 2 seeds"]["95 % interval"] == "seeds 0.0 to 29.2"
    assert (shown["best - map-shuffled"]["change"], shown["best - map-shuffled"]["Holm p"]) == ("+20.8", "0.062")
    arms[SHUFFLED[1]] = NONE
    better = sweep(tmp_path / "better", arms)
    assert of(better, "ridge")["map_shuffled"]["best"]["verdict"] == BETTER_THAN_SHUFFLED
    assert (
        "At its best strength, the vector scores better than what a map of texts paired at random makes of the same "
        "concept."
    ) in sentences(better, "ridge")


def test_where_less_is_better_a_fall_is_better(tmp_path: Path) -> None:
    less = {"higher_is_better": {"toy": {"words": False}}}
    arms = {BASELINE: [9.0] * N, RIDGE: [2.0 + i / 9 for i in range(N)], SHUFFLED[0]: [8.0 + i / 9 for i in range(N)]}
    told = of(sweep(tmp_path, arms, metric="words", patch=less), "ridge")["map_shuffled"]["best"]
    assert told["verdict"] == BETTER_THAN_SHUFFLED
    assert told["difference"] == pytest.approx(-6)
    assert told["high"] < 0


def test_controls_stand_in_the_row_of_their_vector_and_random_in_all(tmp_path: Path) -> None:
    more = {Arm("best", one, "negated"): NONE for one in ("own", "ridge")}
    more |= {Arm("best", None, "random", seed): HALF for seed in (1, 2)} | {SHUFFLED[0]: HALF}
    board = sweep(tmp_path, {BASELINE: HALF, OWN: ALL, RIDGE: ALL, **more})
    own, ridge = of(board, "own"), of(board, "ridge")
    assert set(own["changes"]) == {"best", "negated best", "random:1 best", "random:2 best"}
    assert set(ridge["changes"]) == {"best", "negated best", "map-shuffled:1 best"}
    assert own["random"]["best"]["seeds"] == ridge["random"]["best"]["seeds"] == 2
    (family,) = [one for one in board.families if len(one.tests) > 1]
    assert len(family.tests) == 7  # the same rules for all
    for form in ("markdown", "csv", "json", "latex"):
        assert "map" in render(board, form)
    assert "best_map_shuffled_holm_p" in render(board, "csv").split("\n")[0]


@pytest.mark.parametrize(("width_map", "shared"), [("cut", True), ("cut-raw", False)])
def test_random_vectors_stand_for_others_of_unit_length(width_map: str, shared: bool, tmp_path: Path) -> None:
    options = {"patch": {"config": {"steering": {"transfer": {"width_map": width_map}}}}}
    arms = {BASELINE: HALF, OWN: ALL, RIDGE: ALL} | {Arm("best", None, "random", seed): HALF for seed in (1, 2)}
    board = sweep(tmp_path, arms, **options)
    assert of(board, "own")["random"]["best"]["seeds"] == 2
    assert ("best" in of(board, "ridge")["random"]) == shared


def test_random_vectors_of_other_blocks_are_told_of(tmp_path: Path) -> None:
    arms = {BASELINE: HALF, OWN: ALL, RIDGE: ALL} | {Arm("best", None, "random", seed): HALF for seed in (1, 2)}
    board = sweep(tmp_path, arms, patch={"config": {"steering": {"transfer": {"steered_blocks": [0, 1, 2]}}}})
    assert not any("random vectors beside" in note for note in board.notes)
    (path,) = (tmp_path / "arms" / "toy" / "ridge_best").rglob("results_*.json")
    content = json.loads(path.read_text())
    content["config"]["steering"]["transfer"]["steered_blocks"] = [0, 1]
    path.write_text(json.dumps(content))
    told = [note for note in read_leaderboard([tmp_path]).notes if "random vectors beside" in note]
    (note,) = told
    assert note.startswith("The random vectors beside ridge: v steer 3 blocks and it steers 2: ")


# Single runs


def run(folder: Path, scores: list[float], name: str, said: dict[str, Any], alpha: float = 1.0) -> None:
    more = {"vector": name, "passport": said}
    write_run(folder / name, scores, alpha=alpha, steering=more, **{"vectors": f"{name}.safetensors"})


def test_a_run_with_such_a_file_is_a_control_of_the_vector_with_its_map(tmp_path: Path) -> None:
    write_run(tmp_path / "plain", NONE)
    run(tmp_path, ALL, "ridge", passport())
    run(tmp_path, NONE, "twin", passport(shuffled=1))
    run(tmp_path, ALL, "stranger", passport(shuffled=1, width_map={"name": "lstsq"}))
    run(tmp_path, NONE, "stronger", passport(shuffled=2), alpha=2.0)
    rows = read_leaderboard([tmp_path]).entries()
    assert sorted(sorted(row["changes"]) for row in rows) == [
        ["1", "map-shuffled:1 1"],
        ["map-shuffled:1 1"],  # of another map
        ["map-shuffled:2 2"],  # at another strength
    ]
    (told,) = [row["map_shuffled"]["1"] for row in rows if "1" in row["changes"]]
    assert (told["verdict"], told["nearest"]) == (BETTER_THAN_SHUFFLED, "map-shuffled:1 1")


def test_a_run_without_strength_is_a_baseline_whatever_its_file(tmp_path: Path) -> None:
    run(tmp_path, NONE, "twin", passport(shuffled=1), alpha=0.0)
    (found,) = read_runs([tmp_path])
    assert found.control is None
    (row,) = read_leaderboard([tmp_path]).entries()
    assert (row["baseline"], row["changes"]) == (0, {})


def test_figures_know_the_kind() -> None:
    assert [arm_label("map-shuffled", seeds) for seeds in (1, 3)] == [
        "a map of shuffled texts",
        "3 maps of shuffled texts",
    ]
    assert len({arm_label(kind) for kind in ("", "random", "map-shuffled", "shuffled", "negated")}) == 5
