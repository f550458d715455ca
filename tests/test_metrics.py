"""Metrics beside a task's first, and shares of own's effect: hand-computed, held against scipy, in every table."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from scipy import stats

import sweeps
from conftest import make_vector
from lm_eval_steer.compare.arms import BASELINE, Arm
from lm_eval_steer.compare.beside import measure
from lm_eval_steer.compare.outcome import compare_with_own, describe
from lm_eval_steer.compare.own import NO_EFFECT, average, shares_of_own
from lm_eval_steer.compare.run import Run
from lm_eval_steer.compare.runs import read_runs
from lm_eval_steer.compare.stats import mean_change, mean_interval, paired_bootstrap, paired_test, share_of_effect
from lm_eval_steer.compare.sweep_file import read_sweep
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.models.hf import SteeredHF
from lm_eval_steer.report.figures import find_pictures
from lm_eval_steer.report.page import make_page
from lm_eval_steer.report.page.words import tell
from lm_eval_steer.report.tables import Leaderboard, read_leaderboard, render
from lm_eval_steer.sweep import make_metric_tables, make_table
from runs import write_named_sweep, write_run

N = 40
RNG = np.random.default_rng(0)
OWN, RIDGE, CUT = (Arm("best", vector=name) for name in ("own", "ridge", "cut"))
RANDOM = [Arm("best", control="random", seed=seed) for seed in (1, 2)]
ODDS = {BASELINE: RNG.normal(-1, 1, N)}
ODDS |= {OWN: ODDS[BASELINE] + RNG.normal(5, 1, N)}
ODDS |= {RIDGE: ODDS[BASELINE] + 0.6 * (ODDS[OWN] - ODDS[BASELINE]) + RNG.normal(0, 0.5, N)}
ODDS |= {arm: ODDS[BASELINE] + RNG.normal(0, 0.3, N) for arm in (CUT, *RANDOM)}
ACC = {arm: (odds > 0).astype(float) for arm, odds in ODDS.items()}


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """own, ridge, cut and two random directions, with acc (exact_match here) and log_odds."""
    folder = tmp_path_factory.mktemp("swept")
    beside = {arm: {"log_odds": odds.tolist()} for arm, odds in ODDS.items()}
    write_named_sweep(folder, {arm: scores.tolist() for arm, scores in ACC.items()}, beside)
    return folder


@pytest.fixture(scope="module")
def arms(swept: Path) -> dict[Arm, Run]:
    state = read_sweep(swept / "sweep.json")
    entries = state["tasks"]["toy"]["test"]
    return {arm: read_runs([swept / entries[arm.name]["result"]])[0] for arm in ODDS}


# What a run says


def test_a_run_has_every_metric_with_its_filter_and_direction(tmp_path: Path) -> None:
    write_run(
        tmp_path,
        [1.0, 0.0],
        beside={"log_odds": [0.5, -1.5], "loss": [2.0, 3.0], "odd": [float("nan"), 1.0]},
        patch={
            "higher_is_better": {"toy": {"exact_match": True, "loss": False}},
            "results": {"toy": {"note,strict": "N/A", "f1,strict": 0.25, "odd,strict": None}},
        },
    )
    (run,) = read_runs([tmp_path])
    assert run.metrics == (
        "exact_match,strict", "log_odds,strict", "loss,strict", "exact_match,loose", "f1,strict"
    )  # fmt: skip
    odds, loss, loose, f1 = (run.by(name) for name in run.metrics[1:])
    assert (odds.metric, odds.score, [one.score for one in odds.samples]) == ("log_odds,strict", -0.5, [0.5, -1.5])
    assert (loss.higher_is_better, odds.higher_is_better) == (False, True)
    assert [one.score for one in loose.samples] == [0.0, 0.0]  # of the second filter's rows
    assert (f1.score, f1.samples) == (0.25, [])  # of the documents together
    assert [one.key for one in odds.samples] == [one.key for one in run.samples]
    assert run.by(run.metric) is run


def test_a_score_that_is_no_mean_of_its_documents_has_no_interval_and_no_test(tmp_path: Path) -> None:
    patch = {"results": {"toy": {"perplexity,strict": 7.0}}}
    write_run(tmp_path / "a", [1.0, 0.0], beside={"perplexity": [1.0, 2.0]}, patch=patch)
    write_run(tmp_path / "b", [1.0, 0.0], beside={"perplexity": [1.0, 4.0]}, alpha=1)
    before, after = read_runs([tmp_path])
    found = measure(after, before)["perplexity,strict"]
    assert (found.score, found.change, found.paired) == (2.5, -4.5, None)
    assert measure(before, None)["perplexity,strict"].interval is None


# The statistics


def test_a_change_by_hand() -> None:
    found = mean_change([0.0, 1.0, -1.0], [1.5, 3.0, 1.5])  # by 1.5, 2 and 2.5
    assert found.change == 2
    reach = stats.t.ppf(0.975, 2) * 0.5 / 3**0.5
    assert (found.low, found.high) == pytest.approx((2 - reach, 2 + reach))
    assert found.p == pytest.approx(2 * stats.t.sf(2 / (0.5 / 3**0.5), 2))


def test_continuous_changes_are_scipys_paired_t_test() -> None:
    before, after = ODDS[BASELINE], ODDS[RIDGE]
    expected = stats.ttest_rel(after, before)
    ends = expected.confidence_interval(0.95)
    found = mean_change(before.tolist(), after.tolist())
    assert (found.change, found.low, found.high, found.p) == pytest.approx(
        (np.mean(after - before), ends.low, ends.high, expected.pvalue)
    )
    alone = stats.ttest_1samp(after, 0).confidence_interval(0.9)
    assert mean_interval(after.tolist(), level=0.9) == pytest.approx((alone.low, alone.high))


def test_repeated_documents_count_once() -> None:
    clusters = [i // 2 for i in range(N)]
    changes = (ODDS[RIDGE] - ODDS[BASELINE]).reshape(-1, 2).mean(axis=1)
    ends = stats.ttest_1samp(changes, 0).confidence_interval(0.95)
    found = mean_change(ODDS[BASELINE].tolist(), ODDS[RIDGE].tolist(), clusters)
    assert (found.low, found.high) == pytest.approx((ends.low, ends.high))
    assert mean_change([0.0, 0.5], [1.0, 2.0], ["a", "a"]).low is None  # one document
    assert mean_interval([0.5]) is None


def test_right_and_wrong_is_tested_as_by_a_verdict() -> None:
    before, after = ACC[BASELINE].tolist(), ACC[RIDGE].tolist()
    found = mean_change(before, after)
    assert (found.low, found.high) == paired_bootstrap(before, after)
    assert found.p == paired_test(before, after)


def test_nothing_changed() -> None:
    found = mean_change([0.5, 0.25], [0.5, 0.25])
    assert (found.change, found.low, found.high, found.p) == (0, 0, 0, 1)
    assert mean_change([0.5, 0.25], [1.5, 1.25]).p == 0


def test_a_share_is_scipys_paired_bootstrap_of_all_three() -> None:
    def ratio(base: np.ndarray, arm: np.ndarray, own: np.ndarray, axis: int) -> np.ndarray:
        return (arm.mean(axis) - base.mean(axis)) / (own.mean(axis) - base.mean(axis))

    data = (ODDS[BASELINE], ODDS[RIDGE], ODDS[OWN])
    expected = stats.bootstrap(
        data, ratio, paired=True, vectorized=True, n_resamples=9999, method="percentile", rng=np.random.default_rng(0)
    ).confidence_interval
    found = share_of_effect(*(values.tolist() for values in data))
    assert found.share == pytest.approx(float(ratio(*data, 0)))
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert 0.5 < found.low < found.share < found.high < 0.7


@pytest.mark.filterwarnings("error")
def test_shares_by_hand() -> None:
    before, own = [0.0, 1.0, 2.0, 3.0], [2.0, 2.0, 5.0, 5.0]  # own: +2, the arm: +0.5
    assert share_of_effect(before, [0.5, 1.5, 2.5, 3.5], own).share == 0.25
    whole = share_of_effect(before, own, own)
    assert (whole.share, whole.low, whole.high) == (1, 1, 1)
    nothing = share_of_effect(before, before, own)
    assert (nothing.share, nothing.low, nothing.high) == (0, 0, 0)
    assert share_of_effect(before, [-2.0, -1.0, 0.0, 1.0], own).share == -1
    twice = share_of_effect(before, own, own, ["a", "a", "b", "b"])
    assert (twice.share, twice.low, twice.high) == (1, 1, 1)
    alike = share_of_effect([0.0] * 4, [0.5] * 4, [2.0] * 4)  # every change of an arm is the same
    assert (alike.share, alike.low, alike.high) == (0.25, 0.25, 0.25)
    rare = share_of_effect([0.0] * 4, [0.0, 0.0, 0.0, 1.0], [0.0, 0.0, 0.0, 2.0])  # a third of resamples hold no change
    assert (rare.share, rare.low, rare.high) == (0.5, 0.5, 0.5)
    with pytest.raises(SteeringError, match="the reference has no effect"):
        share_of_effect(before, own, [1.0, 0.0, 3.0, 2.0])


# Arms


def test_shares_of_every_metric_and_of_controls(arms: dict[Arm, Run]) -> None:
    found = shares_of_own(arms[BASELINE], {arm: arms[arm] for arm in arms if arm != BASELINE}, {"best": arms[OWN]})
    assert list(found) == [OWN, RIDGE, CUT, *RANDOM]
    for arm, shares in found.items():
        for metric, values in (("exact_match,strict", ACC), ("log_odds,strict", ODDS)):
            base, one, own = (values[key].mean() for key in (BASELINE, arm, OWN))
            assert shares[metric].share == pytest.approx((one - base) / (own - base)), (arm, metric)
        loose = shares["exact_match,loose"]  # 0 for all documents of all arms
        assert (loose.share, loose.low, loose.note) == (None, None, NO_EFFECT)
    ridge = found[RIDGE]["log_odds,strict"]
    assert ridge.low is not None
    assert 0.5 < ridge.low < 0.6 < (ridge.high or 0) < 0.7
    assert (found[OWN]["log_odds,strict"].low, found[OWN]["log_odds,strict"].high) == (1, 1)


def test_another_role_has_no_share(arms: dict[Arm, Run]) -> None:
    assert shares_of_own(arms[BASELINE], {Arm("vote", vector="ridge"): arms[RIDGE]}, {"best": arms[OWN]}) == {}
    assert shares_of_own(None, {RIDGE: arms[RIDGE]}, {"best": arms[OWN]}) == {}


def test_seeds_are_averaged_by_document(arms: dict[Arm, Run]) -> None:
    mean = average([arms[arm] for arm in RANDOM])
    assert mean is not None
    odds = mean.by("log_odds,strict")
    expected = (ODDS[RANDOM[0]] + ODDS[RANDOM[1]]) / 2
    assert [one.score for one in odds.samples] == pytest.approx(expected)
    assert odds.score == pytest.approx(expected.mean())


def test_what_sweep_json_says_of_an_arm(swept: Path) -> None:
    entries = read_sweep(swept / "sweep.json")["tasks"]["toy"]["test"]
    found = describe(swept, entries, "ridge best")["metrics"]["log_odds,strict"]
    expected = stats.ttest_rel(ODDS[RIDGE], ODDS[BASELINE])
    ends = expected.confidence_interval()
    around = stats.ttest_1samp(ODDS[RIDGE], 0).confidence_interval()
    assert found["score"] == pytest.approx(ODDS[RIDGE].mean())
    assert found["interval"] == pytest.approx([around.low, around.high])
    against = found["against_baseline"]
    assert against["change"] == pytest.approx(float(np.mean(ODDS[RIDGE] - ODDS[BASELINE])))
    assert against["interval"] == pytest.approx([ends.low, ends.high])
    assert against["p"] == pytest.approx(expected.pvalue)
    assert describe(swept, entries, "baseline")["metrics"]["log_odds,strict"]["against_baseline"] is None
    shares = compare_with_own(swept, entries)
    assert list(shares) == ["own best", "ridge best", "cut best", "random:1 best", "random:2 best"]
    ridge = shares["ridge best"]["log_odds,strict"]
    assert (ridge["share"], ridge["note"]) == (pytest.approx(0.6, abs=0.05), None)
    assert shares["ridge best"]["exact_match,loose"] == {"share": None, "interval": None, "note": NO_EFFECT}
    without = {name: entry for name, entry in entries.items() if not name.startswith("own")}
    assert compare_with_own(swept, without) == {}


def test_sweep_json_is_read_with_metrics_and_without(swept: Path, tmp_path: Path) -> None:
    state = json.loads((swept / "sweep.json").read_text())
    entries = state["tasks"]["toy"]["test"]
    shares = compare_with_own(swept, entries)
    for name, entry in entries.items():
        entry |= {"metrics": describe(swept, entries, name)["metrics"], "share_of_own": shares.get(name)}
    file = tmp_path / "sweep.json"
    file.write_text(json.dumps(state))
    assert read_sweep(file)["tasks"]["toy"]["test"] == entries
    entries["ridge best"]["metrics"]["log_odds,strict"]["score"] = "high"
    file.write_text(json.dumps(state))
    with pytest.raises(SteeringError, match=r"ridge best\.metrics\.log_odds,strict\.score"):
        read_sweep(file)


# Tables


@pytest.fixture(scope="module")
def board(swept: Path) -> Leaderboard:
    return read_leaderboard([swept])


def metric_lines(board: Leaderboard, title: str) -> dict[tuple[str, str], dict[str, str]]:
    """(vector, arm) -> the cells of a table by column."""
    (block,) = [block for block in board.blocks() if block.title == title]
    lines = [dict(zip(block.columns, cells, strict=True)) for cells in block.rows]
    return {(line["vector"], line["arm"]): line for line in lines}


def test_a_table_for_each_metric_beside_the_first(board: Leaderboard) -> None:
    assert [block.title for block in board.blocks()] == [
        "toy, exact_match", "toy, exact_match: what competes with the vector", "toy, log_odds beside exact_match",
        "toy, exact_match (loose) beside exact_match",
    ]  # fmt: skip
    lines = metric_lines(board, "toy, log_odds beside exact_match")
    changes = ODDS[RIDGE] - ODDS[BASELINE]
    ends = stats.ttest_1samp(changes, 0).confidence_interval()
    line = lines["ridge: v", "best, α = 1"]
    assert line["score"] == f"{ODDS[RIDGE].mean():.2f}"
    assert line["change"] == f"{changes.mean():+.2f}"
    assert line["95 % interval"] == f"{ends.low:+.2f} to {ends.high:+.2f}"
    assert line["unadjusted p"] == f"{stats.ttest_1samp(changes, 0).pvalue:.2g}"
    assert re.fullmatch(r"60 % \(5\d to 6\d\)", line["share of own"])
    assert lines["own: v", "best, α = 1"]["share of own"] == "100 %"
    around = stats.ttest_1samp(ODDS[BASELINE], 0).confidence_interval()
    before = lines["own: v", "baseline"]
    assert (before["change"], before["95 % interval"]) == ("-", f"{around.low:.2f} to {around.high:.2f}")
    seeds = lines["own: v", "random best, 2 seeds"]
    mean = (ODDS[RANDOM[0]] + ODDS[RANDOM[1]]).mean() / 2
    share = (mean - ODDS[BASELINE].mean()) / (ODDS[OWN] - ODDS[BASELINE]).mean()
    assert seeds["score"] == f"{mean:.2f}"
    assert seeds["share of own"].startswith(f"{100 * share:.0f} % (")
    loose = metric_lines(board, "toy, exact_match (loose) beside exact_match")
    assert loose["ridge: v", "best, α = 1"]["share of own"] == "-"
    assert (loose["ridge: v", "best, α = 1"]["score"], loose["ridge: v", "best, α = 1"]["change"]) == ("0.0%", "+0.0")
    assert "child x toy has no share of own for best (exact_match (loose)): the interval of own's effect holds 0." in (
        board.notes
    )


def test_the_first_table_has_shares_of_the_first_metric(board: Leaderboard) -> None:
    lines = metric_lines(board, "toy, exact_match")
    base, ridge, own = (ACC[arm].mean() for arm in (BASELINE, RIDGE, OWN))
    share = 100 * (ridge - base) / (own - base)
    assert lines["ridge: v", "best, α = 1"]["share of own"].startswith(f"{share:.0f} % (")
    assert lines["own: v", "random best, 2 seeds"]["share of own"].endswith(")")
    assert lines["ridge: v", "baseline"]["share of own"] == "-"


def test_verdicts_and_families_are_those_of_the_first_metric_alone(board: Leaderboard) -> None:
    assert [len(family.tests) for family in board.families] == [5, 3]  # own, ridge, cut, random:1 and 2; rivals


def test_json_and_csv_have_all_of_it(board: Leaderboard) -> None:
    ridge = next(row for row in json.loads(render(board, "json"))["rows"] if row["vector"] == "ridge: v")
    odds = ridge["metrics"]["log_odds,strict"]
    assert odds["higher_is_better"] is True
    assert list(odds["scores"]) == ["baseline", "best"]
    assert odds["changes"]["best"]["change"] == pytest.approx(float(np.mean(ODDS[RIDGE] - ODDS[BASELINE])))
    share = ridge["shares"]["best"]["log_odds,strict"]
    assert share["low"] < share["share"] < share["high"]
    assert ridge["shares"]["best"]["exact_match,loose"]["note"] == NO_EFFECT
    assert "random best" in ridge["shares"]  # the mean of the seeds, which the sweep's vectors share
    head, *lines = csv.reader(io.StringIO(render(board, "csv")))
    line = next(dict(zip(head, cells, strict=True)) for cells in lines if cells[head.index("vector")] == "ridge: v")
    for name in ("change", "low", "high", "p"):
        assert float(line[f"best log_odds,strict {name}"]) == odds["changes"]["best"][name]
    assert float(line["best log_odds,strict share_of_own_low"]) == share["low"]
    assert line["best exact_match,loose share_of_own"] == ""


def test_a_terminal_of_120_columns_holds_the_tables(board: Leaderboard) -> None:
    out = io.StringIO()
    render(board, "rich", console=Console(width=120, file=out))
    assert not any("…" in line for line in out.getvalue().splitlines())
    assert "unadjusted p" in out.getvalue()


def test_the_page_says_it_in_a_sentence_and_in_sortable_tables(board: Leaderboard) -> None:
    row = next(row for row in board.rows if row.vector == "ridge: v")
    changes = ODDS[RIDGE] - ODDS[BASELINE]
    ends = stats.ttest_1samp(changes, 0).confidence_interval()
    _, beside, shares, *_ = tell(row, board.names).more
    odds = f"log_odds {changes.mean():+.2f} ({ends.low:.2f} to {ends.high:.2f})"
    assert beside.startswith(f"Beside it: {odds}, exact_match (loose) +0.0 (")
    own = r"Share of own's effect: exact_match \(strict\) 97 % \(.*\), log_odds 60 % \(5\d to 6\d\)\."
    assert re.fullmatch(own, shares)
    page = make_page(board)
    assert page.count("log_odds beside exact_match") > 0
    assert f">{changes.mean():+.2f}<" in page.replace("\n", "")


def test_the_figure_draws_what_the_table_says(board: Leaderboard) -> None:
    drawn, _ = find_pictures(board, [])
    (figure,) = [picture.draw() for picture in drawn if picture.name == "share_of_own-toy"]
    panels = {axes.get_title(): axes for axes in figure.axes}
    assert list(panels) == ["exact_match (strict)", "log_odds"]
    arms = [tick.get_text() for tick in panels["exact_match (strict)"].get_yticklabels()]
    assert set(arms) == {"own best", "ridge best", "cut best", "random best, 2 seeds"}
    shares = [dots.get_offsets()[0] for dots in panels["log_odds"].collections]
    found = {arms[int(place)]: float(share) for share, place in shares}
    ridge, own = ((ODDS[arm] - ODDS[BASELINE]).mean() for arm in (RIDGE, OWN))
    assert (found["own best"], found["ridge best"]) == pytest.approx((100, 100 * ridge / own))


def test_without_own_there_is_no_such_column(tmp_path: Path) -> None:
    write_run(tmp_path / "a", [0.0, 1.0, 0.0], beside={"log_odds": [1.0, 2.0, 3.0]})
    write_run(tmp_path / "b", [0.0, 1.0, 1.0], beside={"log_odds": [2.0, 2.5, 3.0]}, alpha=1)
    board = read_leaderboard([tmp_path])
    assert not any("share of own" in block.columns for block in board.blocks())
    assert "share_of_own" not in render(board, "csv")
    (line,) = [
        line for (_, arm), line in metric_lines(board, "toy, log_odds beside exact_match").items() if arm[0] == "α"
    ]
    assert (line["score"], line["change"]) == ("2.50", "+0.50")


def test_the_tables_at_the_end_of_a_sweep(swept: Path) -> None:
    task = read_sweep(swept / "sweep.json")["tasks"]["toy"]
    shares = compare_with_own(swept, task["test"])
    entries = {
        name: entry | describe(swept, task["test"], name) | {"share_of_own": shares.get(name)}
        for name, entry in task["test"].items()
    }
    out = io.StringIO()
    console = Console(file=out, width=140)
    console.print(make_table("toy", task | {"test": entries}, "alpha"))
    odds, _ = make_metric_tables("toy", task | {"test": entries}, "alpha")
    console.print(odds)
    assert out.getvalue().count("share of own") == 2
    (line,) = [line for line in out.getvalue().split("log_odds of strict")[1].splitlines() if "ridge best" in line]
    assert f"{np.mean(ODDS[RIDGE] - ODDS[BASELINE]):+.2f}" in line
    assert " 60 % (" in line
    assert make_metric_tables("toy", task, "alpha") == []  # of an older release


# A real sweep


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """own and mapped on four rows of sentiment_steer, of a tiny Llama; and the arguments of its command."""
    folder = tmp_path_factory.mktemp("real")
    child = sweeps.make_child(folder)
    arms = {"own": child.pop("vectors"), "mapped": str(make_vector(seed=1).save(folder / "other.pt"))}
    with pytest.MonkeyPatch.context() as patch:
        sweeps.hurry(patch)
        more = {"tasks": ["sentiment_steer"], "arms": arms, "controls": "negated", "limit": 4.0, "val_limit": 2.0}
        args = {"child": child, "folder": folder / "sweep", **more, "alpha": [5.0]}
        sweeps.sweep(**args)
    return folder / "sweep", args


def test_a_sweep_carries_log_odds_from_samples_to_table(real: tuple[Path, dict[str, Any]]) -> None:
    folder, _ = real
    test = read_sweep(folder / "sweep.json")["tasks"]["sentiment_steer"]["test"]
    assert list(test) == ["baseline"] + [
        f"{of} {role}" for of in ("own", "own negated", "mapped", "mapped negated") for role in ("best", "vote")
    ]
    values = {
        name: np.array([one["log_odds"] for one in sweeps.samples(folder, name.replace(" ", "_"), "sentiment_steer")])
        for name in test
    }
    own = values["own best"] - values["baseline"]
    for name, entry in test.items():
        assert entry["metric"] == "acc,none"
        odds = entry["metrics"]["log_odds,none"]
        assert (odds["score"], odds["proportion"]) == (pytest.approx(values[name].mean()), False)
        if name != "baseline":
            change = values[name] - values["baseline"]
            against = odds["against_baseline"]
            assert against["change"] == pytest.approx(change.mean())
            assert against["p"] == pytest.approx(stats.ttest_1samp(change, 0).pvalue)
    board = read_leaderboard([folder])
    lines = metric_lines(board, "sentiment_steer, log_odds beside acc")
    line = next(line for (vector, arm), line in lines.items() if vector.startswith("mapped") and arm.startswith("best"))
    assert (
        line["change"]
        == f"{(values['mapped best'] - values['baseline']).mean():+.{len(line['change'].split('.')[1])}f}"
    )
    holds_0 = stats.ttest_1samp(own, 0).pvalue > 0.05
    share = test["mapped best"]["share_of_own"]["log_odds,none"]
    assert share["note"] == (NO_EFFECT if holds_0 else None)


def test_a_finished_sweep_of_an_older_release_is_told_again_without_its_model(
    real: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, args = real
    sweeps.hurry(monkeypatch)
    monkeypatch.setattr(SteeredHF, "__init__", lambda *_, **__: pytest.fail("the model is loaded"))
    file = folder / "sweep.json"
    whole = file.read_text(encoding="utf-8")
    assert sweeps.sweep(**args) == json.loads(whole)
    state = json.loads(whole)
    for entry in state["tasks"]["sentiment_steer"]["test"].values():
        del entry["metrics"], entry["share_of_own"]
    file.write_text(json.dumps(state), encoding="utf-8")
    try:
        assert sweeps.sweep(**args) == state
        state["tasks"]["sentiment_steer"]["test"]["own best"]["metrics"] = {}  # no longer what its samples say
        file.write_text(json.dumps(state), encoding="utf-8")
        with pytest.raises(pytest.fail.Exception, match="the model is loaded"):
            sweeps.sweep(**args)
    finally:
        file.write_text(whole, encoding="utf-8")
