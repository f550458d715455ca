"""Metrics beside a task's first, and shares of own's effect: hand-computed, held against scipy, in every table."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from lm_eval_steer.compare.arms import BASELINE, Arm
from lm_eval_steer.compare.beside import measure
from lm_eval_steer.compare.outcome import compare_with_own, describe
from lm_eval_steer.compare.own import NO_EFFECT, average, shares_of_own
from lm_eval_steer.compare.runs import Run, read_runs
from lm_eval_steer.compare.stats import mean_change, mean_interval, paired_bootstrap, paired_test, share_of_effect
from lm_eval_steer.compare.sweep_file import read_sweep
from lm_eval_steer.errors import SteeringError
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
