"""A vector against what competes with it: prompts, shots, samples, its own vote, own and cut."""

from __future__ import annotations

import csv
import io
import json
from math import comb
from pathlib import Path

import pytest
from rich.console import Console

from lm_eval_steer.compare.arms import BASELINE, Arm
from lm_eval_steer.compare.rows import SAMPLED
from lm_eval_steer.compare.stats import paired_bootstrap, smallest_detectable
from lm_eval_steer.report.page import make_page
from lm_eval_steer.report.page.words import tell
from lm_eval_steer.report.tables import Leaderboard, read_leaderboard, render
from runs import write_named_sweep, write_run, write_sweep

N = 40
PROMPT, SHOTS = (Arm("baseline", other=name) for name in ("prompt", "shots:5"))
OWN, RIDGE, CUT = (Arm("best", vector=name) for name in ("own", "ridge", "cut"))
VOTE = Arm("vote", vector="ridge")
RIGHT = {
    **{BASELINE: range(4), PROMPT: range(6), SHOTS: range(2, 34), OWN: range(30), RIDGE: range(24)},
    **{VOTE: range(3, 25), CUT: range(4), SAMPLED: range(10)},
}
"""Arm -> the documents that are right under it."""

PAIRS = {
    **{(RIDGE, name): rival for name, rival in (("prompt", PROMPT), ("shots:5", SHOTS), ("self-consistency", SAMPLED))},
    **{(RIDGE, "own best"): OWN, (RIDGE, "cut best"): CUT, (VOTE, "best"): RIDGE, (VOTE, "self-consistency"): SAMPLED},
}
"""Arm of ridge and name of a rival -> its arm."""

FAMILY = 7 + 3 + 4
"""Tests of ridge; of own against prompt, shots and samples; of cut against these and own."""


def scores(arm: Arm) -> list[float]:
    return [float(number in RIGHT[arm]) for number in range(N)]


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("swept")
    tokens = {RIDGE: (400, 80), VOTE: (1600, 330), PROMPT: (1200, 44), SAMPLED: (1600, 410)}
    arms = {arm: scores(arm) for arm in RIGHT}
    write_named_sweep(folder, arms, tokens=tokens, prompts={PROMPT: "Think. {}+1="})
    return folder


@pytest.fixture(scope="module")
def board(swept: Path) -> Leaderboard:
    return read_leaderboard([swept])


def p_of(arm: Arm, rival: Arm) -> float:
    """Exact McNemar."""
    gained, lost = (len(set(RIGHT[one]) - set(RIGHT[other])) for one, other in ((arm, rival), (rival, arm)))
    n = gained + lost
    return min(1.0, 2 * sum(comb(n, k) for k in range(min(gained, lost) + 1)) / 2**n)


def test_each_vector_is_held_against_all_that_competes_with_it(board: Leaderboard) -> None:
    """What stands for all vectors stands in the row of the first; own - cut would be cut - own once more."""
    rivals = {one["vector"]: {arm: set(found) for arm, found in one["rivals"].items()} for one in board.entries()}
    shared = {"prompt", "shots:5", "self-consistency"}
    assert rivals == {
        "own: v": {"best": shared},
        "ridge: v": {"best": shared | {"own best", "cut best"}, "vote": {"best", "self-consistency"}},
        "cut: v": {"best": shared | {"own best"}},
    }


def test_the_numbers_are_those_of_a_paired_test_in_a_family_of_their_own(board: Leaderboard) -> None:
    every = [(RIDGE, rival) for (arm, _), rival in PAIRS.items() if arm == RIDGE]
    every += [(VOTE, RIDGE), (VOTE, SAMPLED)]
    every += [(arm, rival) for arm in (OWN, CUT) for rival in (PROMPT, SHOTS, SAMPLED)] + [(CUT, OWN)]
    ps = sorted(p_of(*pair) for pair in every)
    assert len(ps) == FAMILY
    holm = {p: min(1.0, max((FAMILY - place) * one for place, one in enumerate(ps[: ps.index(p) + 1]))) for p in ps}
    (row,) = (one for one in board.entries() if one["vector"] == "ridge: v")
    for (arm, name), rival in PAIRS.items():
        found, p = row["rivals"][arm.role][name], p_of(arm, rival)
        difference = len(RIGHT[arm]) / N - len(RIGHT[rival]) / N
        gained, lost = len(set(RIGHT[arm]) - set(RIGHT[rival])), len(set(RIGHT[rival]) - set(RIGHT[arm]))
        assert found["difference"] == pytest.approx(difference), name
        assert (found["gained"], found["lost"]) == (gained, lost)
        assert (found["p"], found["holm_p"]) == (pytest.approx(p), pytest.approx(holm[p])), name
        assert found["mde"] == smallest_detectable(N, (gained + lost) / N, 0.05 / FAMILY)
        assert (found["low"], found["high"]) == paired_bootstrap(scores(rival), scores(arm))
        assert (found["score"], found["rival_score"]) == (len(RIGHT[arm]) / N, len(RIGHT[rival]) / N)
        better = "better" if difference > 0 else "worse"
        assert found["verdict"] == (better if holm[p] <= 0.05 else "no evidence at this n"), name
    words = {name: found["verdict"] for name, found in row["rivals"]["best"].items()}
    assert words["prompt"] == words["cut best"] == "better"
    assert words["shots:5"] == words["own best"] == "no evidence at this n"


def test_what_both_sides_read_and_wrote_stands_beside_them(board: Leaderboard) -> None:
    (row,) = (one for one in board.entries() if one["vector"] == "ridge: v")
    keys = ("prompt_tokens", "tokens", "rival_prompt_tokens", "rival_tokens")
    told = {name: tuple(found[key] for key in keys) for name, found in row["rivals"]["best"].items()}
    assert told["prompt"] == (400, 80, 1200, 44)  # of a row that another vector names
    assert told["shots:5"] == (400, 80, None, None)
    assert tuple(row["rivals"]["vote"]["self-consistency"][key] for key in keys) == (1600, 330, 1600, 410)


def test_tables_show_it_behind_the_changes(board: Leaderboard) -> None:
    main, block, _ = board.blocks()
    assert block.title == "toy, exact_match: what competes with the vector"
    lines = {(cells[2], cells[4]): dict(zip(block.columns, cells, strict=True)) for cells in block.rows}
    assert len(lines) == FAMILY
    line = lines["ridge: v", "best - prompt"]
    assert (line["difference"], line["verdict"], line["tokens"]) == ("+45.0", "better", "10 + 2 vs 30 + 1.1")
    assert lines["ridge: v", "best - shots:5"]["tokens"] == "10 + 2 vs -"
    assert lines["cut: v", "best - own best"]["verdict"] == "worse"
    assert lines["cut: v", "best - own best"]["tokens"] == "-"
    for form in ("markdown", "latex"):
        shown = render(board, form)
        assert shown.index(main.title.split(",")[0]) < shown.index("what competes with the vector"), form
        assert "10 + 2 vs 30 + 1.1" in shown
    console = Console(width=120, file=io.StringIO())
    render(board, "rich", console=console)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "10 + 2 vs 30 + 1.1" in shown
    assert max(map(len, shown.splitlines())) <= 120
    tests = "best [ridge: v] - own best; best [ridge: v] - cut best; vote [ridge: v] - best; vote [ridge: v] - self-"
    (family,) = (note for note in board.notes if f"(Holm over {FAMILY} tests)" in note)
    assert tests in family
    assert sum(note.startswith("best - prompt, vote - self-consistency") for note in board.notes) == 1


def test_csv_has_it_behind_all_other_columns(board: Leaderboard) -> None:
    lines = {line["vector"]: line for line in csv.DictReader(io.StringIO(render(board, "csv")))}
    assert lines["ridge: v"]["best - prompt verdict"] == "better"
    assert lines["ridge: v"]["best - prompt rival_tokens"] == "44"
    assert float(lines["cut: v"]["best - own best difference"]) == pytest.approx(-26 / N)
    assert lines["own: v"]["best - own best difference"] == ""


def test_the_page_says_it_in_words(board: Leaderboard) -> None:
    rows = {row.vector: tell(row, board.names).more for row in board.rows}
    (better,) = (one for one in rows["ridge: v"] if one.startswith("At its best strength, the vector scores better"))
    assert "than prompt (95 % interval " in better
    assert "cut best" in better
    (worse,) = (one for one in rows["cut: v"] if one.startswith("At its best strength, the vector scores worse"))
    assert "own best (95 % interval -" in worse
    (open_ones,) = (one for one in rows["ridge: v"] if one.startswith("Voted, the vector cannot be told from"))
    assert "from its best strength (" in open_ones
    assert "toy, exact_match: what competes with the vector" in make_page(board)


def test_less_may_be_better(tmp_path: Path) -> None:
    patch = {"higher_is_better": {"toy": {"exact_match": False}}}
    arms = {BASELINE: [0.0] * 20, OWN: [0.0] * 20, PROMPT: [1.0] * 20}
    write_named_sweep(tmp_path, arms, patch=patch)
    (row,) = read_leaderboard([tmp_path]).entries()
    found = row["rivals"]["best"]["prompt"]
    assert (found["difference"], found["verdict"]) == (-1.0, "better")
    assert found["low"] <= found["difference"] <= found["high"] < 0


def test_outside_of_sweeps_a_vote_is_held_against_samples(tmp_path: Path) -> None:
    """A strength that nobody chose on validation rows is no best."""
    write_run(tmp_path / "base", [0.0] * 12)
    write_run(tmp_path / "one", [1.0] * 12, alpha=0.25)
    for control, right in ((None, 1.0), ("self-consistency", 0.0)):
        more = {"control": control} if control else {}
        steering = {"vector": "5ha", **more}
        write_run(tmp_path / f"{control}", [right] * 12, alpha=[0.25, 0.5], steering=steering, **more)  # type: ignore[arg-type]
    found = [row["rivals"] for row in read_leaderboard([tmp_path]).entries() if row["rivals"]]
    assert [{arm: list(rivals) for arm, rivals in one.items()} for one in found] == [{"vote": ["self-consistency"]}]
    assert found[0]["vote"]["self-consistency"]["p"] == pytest.approx(2 / 2**12)


def test_what_cannot_be_paired_is_left_out(tmp_path: Path) -> None:
    arms = {"baseline": (0, [0.0] * 4), "best": (0.5, [1.0] * 4), "vote": ([0.25, 0.5], [1.0] * 4)}
    write_sweep(tmp_path, arms, log_samples=False)
    board = read_leaderboard([tmp_path])
    assert [row["rivals"] for row in board.entries()] == [{}]
    assert not any("competes" in block.title for block in board.blocks())
    assert board.families == []
    assert json.loads(render(board, "json"))["rows"][0]["rivals"] == {}


def test_what_competes_stands_beside_the_first_vector_of_the_sweep(tmp_path: Path) -> None:
    path = write_named_sweep(tmp_path, {arm: scores(arm) for arm in (BASELINE, OWN, CUT, PROMPT)})
    state = json.loads(path.read_text())
    for first, second in (("cut", "own"), ("own", "cut")):
        path.write_text(json.dumps(state | {"settings": state["settings"] | {"vectors": {first: "a", second: "b"}}}))
        rows = read_leaderboard([tmp_path]).rows
        assert {row.named: PROMPT in row.runs for row in rows} == {first: True, second: False}
