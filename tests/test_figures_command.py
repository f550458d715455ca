"""`lm-eval-steer figures`: what is drawn from results, what is not, and why."""

from __future__ import annotations

import re
import shutil
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from matplotlib.figure import Figure

import reports
from conftest import ROOT
from lm_eval_steer.cli.main import main
from lm_eval_steer.compare.arms import Arm
from lm_eval_steer.compare.counts import Count, agreements, count_of, on_validation_rows
from lm_eval_steer.compare.responses import read_responses
from lm_eval_steer.report.figures import (
    FIGURES,
    Curve,
    FigureKind,
    Picture,
    Results,
    alpha_accuracy,
    find_pictures,
)
from lm_eval_steer.report.tables import Leaderboard, read_leaderboard
from runs import write_run, write_sweep

NO_OWN = "toy: no share of own's effect, for that takes a sweep with --arms own=FILE,..."
NO_COST = "toy: no effect by cost, for that takes a sweep with --cost."
NO_BLOCKS = "toy: no effect by block, for that takes a sweep with --sites each."
NAMES = [
    *("alpha_accuracy-validation-toy", "alpha_accuracy-test-toy", "vote_change-toy"),
    *("agreement-toy-child", "dose_by_block-toy-child"),
]


def found(*folders: Path) -> tuple[dict[str, Picture], list[str]]:
    board: Leaderboard = read_leaderboard(list(folders))
    drawn, missing = find_pictures(board, read_responses(board.rows, board.records))
    return {picture.name: picture for picture in drawn}, missing


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("figures") / "sweep"
    reports.write(folder)
    return folder


def lines(picture: Picture) -> dict[str, list[tuple[float, float]]]:
    """Label -> points."""
    found = {}
    for line in picture.draw().axes[0].get_lines():
        points = zip(line.get_xdata(), line.get_ydata(), strict=True)
        found[str(line.get_label())] = [(float(x), round(float(y), 2)) for x, y in points]  # type: ignore[arg-type]
    return found


def test_the_document_names_every_figure_and_what_it_takes() -> None:
    text = (ROOT / "docs" / "REPORT.md").read_text(encoding="utf-8")
    table = re.findall(r"^\| (.+) \| (.+) \|$", text[text.index("## What is drawn") :], re.MULTILINE)
    assert [takes for _, takes in table[1:]] == [FIGURES[name].takes for name in FIGURES]


def test_where_pairs_are_many_no_figure_has_a_panel_for_each(sweep: Path) -> None:
    board = read_leaderboard([sweep])
    drawn, missing = find_pictures(board, read_responses(board.rows, board.records), are_many=True)
    assert [one.name for one in drawn] == [NAMES[1], NAMES[2], NAMES[3]]
    assert NO_OWN in missing
    assert NO_COST not in missing


def test_a_figure_of_others_is_found_beside_ours(sweep: Path) -> None:
    def find(results: Results) -> list[Picture] | str:
        counts = [Curve(results.child(row), "p", {1.0: Count(1, row.any_run.n)}, Count(1, 2)) for row in results.rows]
        return [Picture(results.title("a"), "b", partial(alpha_accuracy, counts)), Picture("c", "d", Figure, "of/x")]

    FIGURES.add("mine", FigureKind("rows", find))
    FIGURES.add("not mine", FigureKind("nothing", lambda results: "no other figure, for it never is."))
    try:
        drawn, missing = found(sweep)
    finally:
        FIGURES.remove("mine")
        FIGURES.remove("not mine")
    assert list(drawn) == [*NAMES, "mine-toy", "mine-toy-of_x"]
    assert (drawn["mine-toy"].title, missing) == (
        "toy: a",
        [NO_OWN, NO_COST, NO_BLOCKS, "toy: no other figure, for it never is."],
    )
    assert lines(drawn["mine-toy"])["the vector"] == [(1.0, 8.33)]


def test_a_sweep_with_its_record_gives_every_figure(sweep: Path) -> None:
    drawn, missing = found(sweep)
    assert list(drawn) == NAMES
    assert missing == [NO_OWN, NO_COST, NO_BLOCKS]


def test_the_curves_are_those_of_validation_and_of_test(sweep: Path) -> None:
    drawn, _ = found(sweep)
    curves = lines(drawn["alpha_accuracy-validation-toy"])
    assert curves["the vector"] == curves["a random direction"] == [(0.25, 50.0), (0.5, 60.0), (1.0, 40.0)]
    assert {y for _, y in curves["unsteered (20 documents)"]} == {50.0}
    curves = lines(drawn["alpha_accuracy-test-toy"])
    assert curves["the vector"] == [(0.25, 50.0), (0.5, 33.33), (1.0, 25.0)]
    assert curves["a random direction"] == [(0.25, 50.0), (0.5, 50.0), (1.0, 50.0)]


def test_agreement_counts_the_answers_like_the_votes(sweep: Path) -> None:
    board = read_leaderboard([sweep])
    (responses,) = read_responses(board.rows, board.records)
    points = agreements(responses.views[0])
    assert [point.correct for point in points] == [i % 4 == 0 for i in range(12)]
    assert [round(3 * point.share) for point in points[:4]] == [3, 3, 2, 2]  # strengths that say what the vote says


def test_a_response_that_is_missing_is_no_point(sweep: Path, tmp_path: Path) -> None:
    """One early stop leaves one strength open: its curve and the agreement would be of a chosen part."""
    folder = shutil.copytree(sweep, tmp_path / "sweep")
    (file,) = (folder / "record").glob("*.jsonl")
    kept = [line for line in file.read_text().split("\n") if '"doc_id":3,' not in line or '"alpha":1.0' not in line]
    file.write_text("\n".join(kept))
    drawn, missing = found(folder)
    assert lines(drawn["alpha_accuracy-test-toy"])["the vector"] == [(0.25, 50.0), (0.5, 33.33)]
    assert "agreement-toy-child" not in drawn
    assert len(missing) == 4
    assert all(sentence in (NO_OWN, NO_COST, NO_BLOCKS) or "no agreement of votes" in sentence for sentence in missing)


def test_plain_runs_say_for_each_figure_what_it_takes(tmp_path: Path) -> None:
    write_run(tmp_path / "a", [0.0, 1.0], alpha=0)
    write_run(tmp_path / "b", [1.0, 1.0], alpha=0.5)
    drawn, missing = found(tmp_path)
    assert drawn == {}
    assert len(missing) == 8
    assert all(sentence.startswith("toy: no ") for sentence in missing)


def test_single_runs_of_several_strengths_are_a_curve(tmp_path: Path) -> None:
    write_run(tmp_path / "a", [0.0, 1.0], alpha=0)
    for alpha, scores in ((0.5, [1.0, 1.0]), (0.25, [0.0, 0.0])):
        write_run(tmp_path / str(alpha), scores, alpha=alpha)
    drawn, _ = found(tmp_path)
    assert lines(drawn["alpha_accuracy-test-toy"])["the vector"] == [(0.25, 0.0), (0.5, 100.0)]


def test_a_row_has_the_curves_of_its_own_vector_and_controls(sweep: Path) -> None:
    """Vectors of one sweep share the search of strength 0, which stands with the first of them."""
    (row,) = read_leaderboard([sweep]).rows
    assert row.any_part is not None
    scores = {"first": {"0": 0.5, "1": 0.1}, "second": {"1": 0.7}, "random:1": {"1": 0.2}}
    arms = (Arm("baseline"), Arm("best", vector="second"), Arm("best", control="random", seed=1))
    parts = {arm: replace(row.any_part, arm=arm, validation={"n": 20, "scores": scores}) for arm in arms}
    found = on_validation_rows(replace(row, parts=parts))
    assert found == (Count(10, 20), [("", {1.0: Count(14, 20)}), ("random", {1.0: Count(4, 20)})])


def test_two_sweeps_of_one_child_and_parent_are_panels_of_their_own(sweep: Path, tmp_path: Path) -> None:
    reports.write(tmp_path / "other", patch={"config": {"steering": {"vector": "other"}}})
    drawn, _ = found(sweep, tmp_path)
    titles = [axes.get_title() for axes in drawn["alpha_accuracy-validation-toy"].draw().axes if axes.get_title()]
    assert len(set(titles)) == 2
    assert {"agreement-toy-child", "agreement-toy-child-2"} <= set(drawn)


def test_a_metric_that_counts_nothing_has_no_curve_on_validation_rows(tmp_path: Path) -> None:
    scores = {"baseline": (0, [0.3, 0.5]), "best": (0.5, [0.4, 0.6])}
    state = {"tasks": {"toy": {"validation": {"n": 3, "scores": {"vector": {"0": 0.35, "0.5": 0.4}}}}}}
    write_sweep(tmp_path, scores, state=state)
    _, missing = found(tmp_path)
    assert "its scores are no shares of right documents" in missing[0]


@pytest.mark.parametrize(("score", "n", "count"), [(0.45, 40, Count(18, 40)), (0.451, 40, None), (2.0, 40, None)])
def test_counts_from_shares(score: float, n: int, count: Count | None) -> None:
    assert count_of(score, n) == count


def test_names_are_file_names(sweep: Path, tmp_path: Path) -> None:
    reports.write(tmp_path / "sweep", record=False, child="org/../a b<c>:ü")
    drawn, _ = found(tmp_path / "sweep")
    assert all(not set(name) & set("/<>: ") for name in drawn)


def test_the_command_writes_both_kinds(sweep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "made" / "figures"
    assert main(["figures", str(sweep), "--out", str(out)]) == 0
    told = capsys.readouterr().out
    assert {path.name for path in out.iterdir()} == {f"{name}.{kind}" for name in NAMES for kind in ("svg", "png")}
    assert all(f"Wrote {path}\n" in told for path in out.iterdir())
    assert told.splitlines()[-1] == f"  lm-eval-steer report {sweep} --out report.html"


def test_bad_input_is_one_sentence(
    sweep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*argv: str) -> str:
        assert main(["figures", *argv]) == 2
        told = capsys.readouterr().err
        assert told.count("\n") == 1
        return told

    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    write_run(tmp_path / "plain", [0.0, 1.0])
    assert "is a file: name a folder" in refused(str(sweep), "--out", str(tmp_path / "file"))
    assert "holds no results_*.json" in refused(str(tmp_path / "empty"), "--out", str(tmp_path / "x"))
    assert "leaves no row" in refused(str(sweep), "--out", str(tmp_path / "x"), "--task", "other")
    assert "can be drawn, for that takes a sweep" in refused(str(tmp_path / "plain"), "--out", str(tmp_path / "x"))
    assert not (tmp_path / "x").exists()
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert 'run pip install "lm_eval_steer[figures]"' in refused("missing", "--out", str(tmp_path / "x"))


@pytest.mark.parametrize("command", ["figures", "report"])
def test_the_example_of_the_help_runs(
    command: str, sweep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(sweep, tmp_path / "sweep")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        main([command, "--help"])
    example = capsys.readouterr().out.split("example:\n  ")[1].split()
    assert main(example[1:]) == 0
