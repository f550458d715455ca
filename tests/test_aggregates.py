"""Scores of documents together: equal to the harness's own, with tests and intervals that simulations hold to."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sacrebleu
import sklearn.metrics
from lm_eval.api.registry import get_aggregation
from rich.console import Console
from scipy import stats

from lm_eval_steer.compare.run import Run
from lm_eval_steer.compare.runs import read_runs
from lm_eval_steer.compare.stats import Pair, bootstrap_change, pair_p, read_together, share_together, verdicts
from lm_eval_steer.compare.stats import together as of_documents
from lm_eval_steer.compare.stats.aggregates import AGGREGATES, fit, influences
from lm_eval_steer.compare.stats.together import score_interval
from lm_eval_steer.report.tables import read_leaderboard, render
from runs import write_run

N = 40
RNG = np.random.default_rng(3)
WORDS = ["the", "cat", "sat", "on", "a", "mat", "while", "one", "dog", "ran", "very", "fast"]


def sentences(of: Sequence[str] | None = None) -> list[str]:
    """Some, or some that differ from others in a few words."""
    if of is None:
        return [" ".join(RNG.choice(WORDS, RNG.integers(5, 12))) for _ in range(N)]
    return [" ".join(word if RNG.random() < 0.8 else RNG.choice(WORDS) for word in one.split()) for one in of]


REFERENCES = sentences()
ITEMS: dict[str, list[Any]] = {
    **{name: list(zip(REFERENCES, sentences(REFERENCES), strict=True)) for name in ("bleu", "chrf", "chrf++", "ter")},
    "f1": RNG.integers(0, 2, (N, 2)).tolist(),
    "matthews_corrcoef": RNG.integers(0, 4, (N, 2)).tolist(),
    "perplexity": RNG.normal(-2, 1, N).tolist(),
    **{
        name: [
            [float(total), int(size)] for total, size in zip(RNG.normal(-40, 9, N), RNG.integers(9, 30, N), strict=True)
        ]
        for name in ("weighted_perplexity", "bits_per_byte")
    },
    "brier_score": [[int(RNG.integers(0, 3)), RNG.dirichlet(np.ones(3)).tolist()] for _ in range(N)],
    "nanmean": [float("nan") if place % 4 else float(place) for place in range(N)],
}


@pytest.mark.parametrize("name", ITEMS)
def test_a_score_is_the_harness_s_own_on_any_documents(name: str) -> None:
    """On all of them, on some of them several times as a resample has them, and after samples went through JSON."""
    ours, theirs = AGGREGATES[name], get_aggregation(name)
    assert theirs is not None
    items = json.loads(json.dumps(ITEMS[name]))
    score = float(theirs(ITEMS[name]))
    assert fit(items, score, name) == name
    assert fit(items, score + 0.01, name) is None
    drawn = RNG.integers(0, N, N)
    parts = ours.read(items)
    expected = float(theirs([ITEMS[name][place] for place in drawn]))
    assert float(parts.score(parts.values[drawn].sum(axis=0))) == pytest.approx(expected)
    assert influences(parts).mean() == pytest.approx(score)


def test_references_may_be_several() -> None:
    items = [
        [[one, other], text] for one, other, text in zip(REFERENCES, sentences(), sentences(REFERENCES), strict=True)
    ]
    columns = list(zip(*(references for references, _ in items), strict=True))
    expected = sacrebleu.corpus_bleu([text for _, text in items], columns).score
    assert AGGREGATES["bleu"].read(items).total == pytest.approx(expected)


@pytest.mark.parametrize("average", ["macro", "weighted", "micro"])
def test_f1_of_several_classes_is_scikit_learns(average: str) -> None:
    pairs = [
        ["yes", "yes"],
        ["no", "yes"],
        ["no", "no"],
        ["maybe", "no"],
        ["yes", "maybe"],
        ["no", "no"],
        ["yes", "no"],
    ]
    score = float(sklearn.metrics.f1_score(*zip(*pairs, strict=True), average=average))
    assert fit(pairs, score, f"def mine(items):\n    return f1_score(*items, average='{average}')") == f"{average}_f1"
    assert fit(pairs, score, "") == f"{average}_f1"
    assert AGGREGATES[f"{average}_f1"].read(pairs).total == pytest.approx(score)


def test_what_gives_another_score_or_is_of_another_kind_is_not_trusted() -> None:
    assert fit([[True], [False, True, True]], 0.75) == "lists"  # as ifeval counts instructions
    assert fit([[True], [False, True, True]], 5 / 6) is None  # the mean of the documents' shares
    assert fit([1.0, 2.0, 3.0], 2.5) is None
    assert fit([{"id": 1}, {"id": 2}], 0.5, "f1") is None
    assert fit([1.0, None, 2.0], 1.5) is None
    assert fit([2.0], float(np.exp(-2)), "perplexity") is None  # one document says nothing of others


def test_influences_of_a_mean_are_its_numbers() -> None:
    assert influences(AGGREGATES["nanmean"].read([3.0, 1.0, 8.0])) == pytest.approx([3, 1, 8])


# By hand, and as scipy has it


def test_a_randomisation_by_hand() -> None:
    """Of three documents, by perplexity: of the 8 ways to swap, 2 are as far from 0 as what was seen."""
    before, after = [-1.0, -2.0, -3.0], [-0.5, -1.0, -2.0]
    arms = read_together("perplexity", [before, after])
    assert of_documents.randomisation(arms) == 2 / 8
    change, low, high = bootstrap_change(arms)
    assert change == pytest.approx(np.exp(3.5 / 3) - np.exp(2))
    assert low < change < high < 0
    assert bootstrap_change(read_together("perplexity", [before, after], sign=-1))[0] == -change


def test_repeated_documents_are_drawn_and_swapped_whole() -> None:
    before, after = RNG.normal(-2, 1, N), RNG.normal(-2, 1, N)
    clusters = [place // 4 for place in range(N)]
    arms = read_together("perplexity", [before.tolist(), after.tolist()], clusters)
    assert arms.parts.shape == (2, N // 4, 2)
    assert (arms.parts[..., 1] == 4).all()
    flips = 2 * ((np.arange(2**10)[:, None] >> np.arange(10)) & 1) - 1  # all of them
    middle, half = (before + after).mean() / 2, (after - before).reshape(-1, 4).sum(axis=1) / 2
    moved = flips @ half / N
    changes = np.exp(-middle - moved) - np.exp(-middle + moved)
    observed = np.exp(-after.mean()) - np.exp(-before.mean())
    assert of_documents.randomisation(arms) == pytest.approx((abs(changes) >= abs(observed) - 1e-12).mean())


def test_a_score_of_means_is_bounded_as_scipys_bootstrap_does() -> None:
    """Of a mean, the interval is the percentile bootstrap, as much wider as t and a sample's variance ask."""
    values = RNG.exponential(1, 25)
    low, high = score_interval("nanmean", values.tolist())
    ends = stats.t.interval(0.95, 24, values.mean(), values.std(ddof=1) / 5)
    assert high - low == pytest.approx(ends[1] - ends[0], rel=0.05)
    assert high - values.mean() > values.mean() - low  # it is skewed as the numbers are


def test_a_share_of_another_arm_by_hand() -> None:
    before, arm, own = [-2.0] * 6, [-1.5] * 6, [-1.0] * 6
    found = share_together(read_together("perplexity", [before, arm, own]))
    expected = (np.exp(1.5) - np.exp(2)) / (np.exp(1) - np.exp(2))
    assert (found.share, found.low, found.high) == pytest.approx((expected,) * 3)


# Simulated: is p uniform where nothing is different, and does the interval hold the true change?


def perplexities(shift: float) -> tuple[list[Any], list[Any]]:
    document = RNG.normal(-2.5, 1.2, 50)
    return tuple((document + shift * arm + RNG.normal(0, 0.5, 50)).tolist() for arm in (0, 1))  # type: ignore[return-value]


def classes(shift: float) -> tuple[list[Any], list[Any]]:
    gold, hard = (RNG.random(60) < 0.4).astype(int), RNG.normal(0, 1, 60)
    arms = [(hard + RNG.normal(0, 1, 60) + (1 + shift * arm) * gold > 0.7).astype(int) for arm in (0, 1)]
    return tuple(np.stack([gold, arm], axis=1).tolist() for arm in arms)  # type: ignore[return-value]


def instructions(shift: float) -> tuple[list[Any], list[Any]]:
    sizes, easy = RNG.integers(1, 4, 50), RNG.beta(2, 2, 50)
    return tuple(
        [(RNG.random(size) < chance + shift * arm).tolist() for size, chance in zip(sizes, easy, strict=True)]
        for arm in (0, 1)
    )  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("name", "draw", "shift"), [("perplexity", perplexities, 0.2), ("f1", classes, 0.6), ("lists", instructions, 0.1)]
)
def test_p_is_uniform_without_an_effect_and_intervals_cover(
    name: str, draw: Callable[[float], tuple[list[Any], list[Any]]], shift: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With 200 data sets, a rate of 5 % comes out below 10 %, and one of 95 % above 90 %, 999 times of 1,000.

    p of classes has steps, of which none may be too likely.
    """
    monkeypatch.setattr(of_documents, "RESAMPLES", 499)
    arms = [read_together(name, draw(0)) for _ in range(200)]
    ps = np.array([of_documents.randomisation(one) for one in arms])
    assert (ps <= 0.05).mean() < 0.1
    assert stats.kstest(ps, "uniform", alternative="greater" if name != "perplexity" else "two-sided").pvalue > 0.001
    intervals = [bootstrap_change(one) for one in arms]
    assert np.mean([low <= 0 <= high for _, low, high in intervals]) > 0.9
    many = [draw(shift) for _ in range(400)]
    before, after = ([item for pair in many for item in pair[arm]] for arm in (0, 1))
    true = np.diff(read_together(name, [before, after]).scores).item()
    found = [bootstrap_change(read_together(name, pair)) for pair in many[:200]]
    assert np.mean([low <= true <= high for _, low, high in found]) > 0.9


def test_a_verdict_of_documents_together() -> None:
    """Holm over the family, a direction, and what would have been found; unchanged documents prove nothing."""
    gold = [place % 2 for place in range(N)]
    wrong = [[one, 1 - one] if place < 20 else [one, one] for place, one in enumerate(gold)]
    right = [[one, one] for one in gold]
    family = {}
    for name, items in {"better": right, "same": wrong}.items():
        together = read_together("f1", [wrong, items])
        family[name] = Pair(
            *(influences(AGGREGATES["f1"].read(one)).tolist() for one in (wrong, items)), None, together
        )
    found = verdicts(family)
    better, same = found["better"], found["same"]
    assert (better.word, better.change, better.holm_p) == ("helps", 0.5, 2 * pair_p(family["better"]))
    assert 0.2 < better.low < 0.5 < better.high < 0.8
    assert better.mde is not None
    assert 0.1 < better.mde < 0.5
    assert (same.change, same.mcnemar_p, same.mde, same.word) == (0, 1, None, "no evidence at this n")


# In files and tables


@pytest.fixture(scope="module")
def rolled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A baseline and two strengths by word_perplexity, which falls by the first and rises by the second."""
    folder = tmp_path_factory.mktemp("rolled")
    sizes = RNG.integers(20, 60, N)
    level = RNG.normal(-2, 0.3, N)
    for place, (alpha, shift) in enumerate(((None, 0.0), (1.0, 0.15), (2.0, -0.4))):
        totals = sizes * (level + shift + RNG.normal(0, 0.05, N))
        items: Any = [[float(total), int(size)] for total, size in zip(totals, sizes, strict=True)]
        score = float(get_aggregation("weighted_perplexity")(items))  # type: ignore[misc]
        lists: Any = [[True] * int(1 + place), [False] * 2] * (N // 2)
        told = {
            "results": {"toy": {"word_perplexity,strict": score, "followed,strict": (1 + place) / (3 + place)}},
            "higher_is_better": {"toy": {"word_perplexity": False}},
        }
        path = write_run(folder / str(place), [0.0, 1.0] * (N // 2), alpha=alpha)
        samples = next(path.parent.glob("samples_*.jsonl"))
        rows = [json.loads(line) for line in samples.read_text().splitlines()]
        for row in rows:
            row |= {"word_perplexity": items[row["doc_id"]], "followed": lists[row["doc_id"]]}
        samples.write_text("".join(json.dumps(row) + "\n" for row in rows))
        content = json.loads(path.read_text())
        content["results"]["toy"] |= told["results"]["toy"]
        path.write_text(json.dumps(content | {"higher_is_better": told["higher_is_better"]}))
    return folder


def by_strength(folder: Path) -> dict[float, Run]:
    """Strength, 0 for the baseline, -> its run."""
    return {run.alphas[0]: run for run in read_runs([folder], lambda *_: "word_perplexity")}


def test_a_run_knows_what_makes_its_score(rolled: Path) -> None:
    run = by_strength(rolled)[0.0]
    assert (run.aggregate, run.is_share, run.higher_is_better) == ("weighted_perplexity", False, False)
    assert np.mean([one.score for one in run.samples]) == pytest.approx(run.score)
    followed = run.by("followed,strict")
    assert (followed.aggregate, followed.is_share, followed.score) == ("lists", True, pytest.approx(1 / 3))
    assert run.by("exact_match,strict").aggregate is None


def test_lower_is_better_helps_and_hurts_as_it_should(rolled: Path) -> None:
    board = read_leaderboard([rolled], metric="word_perplexity")
    runs, rows = by_strength(rolled), board.entries()
    changes = {name: change for row in rows for name, change in row["changes"].items()}
    for alpha, word in ((1.0, "helps"), (2.0, "hurts")):
        found = changes[f"{alpha:g}"]
        assert found["verdict"] == word
        assert found["change"] == pytest.approx(runs[alpha].score - runs[0.0].score)
        assert found["low"] < found["change"] < found["high"]
        items = [[one.item for one in run.samples] for run in (runs[0.0], runs[alpha])]
        arms = read_together("weighted_perplexity", items)
        assert found["mcnemar_p"] == of_documents.randomisation(arms)
        assert (found["low"], found["high"]) == pytest.approx(bootstrap_change(arms)[1:], abs=1e-6)
    score = rows[0]["scores"]["baseline"]
    ends = score_interval("weighted_perplexity", [one.item for one in runs[0.0].samples])
    assert (score["low"], score["high"]) == pytest.approx(ends)
    shown = render(board, "markdown")
    assert "word\\_perplexity is a score of documents together" in shown
    beside = rows[0]["metrics"]["followed,strict"]
    assert beside["scores"]["baseline"]["low"] < 1 / 3 < beside["scores"]["baseline"]["high"]
    assert all(change["p"] is not None for change in beside["changes"].values())


def test_many_metrics_are_shown_on_demand_alone(rolled: Path) -> None:
    board = read_leaderboard([rolled], metric="word_perplexity")  # 3 more: exact_match in two filters, and followed
    assert [block.title for block in board.blocks()] == ["toy, word_perplexity"]
    assert any("toy has 3 more metrics (" in note and "--metrics shows a table of each" in note for note in board.notes)
    asked = read_leaderboard([rolled], metric="word_perplexity", metrics_asked=True)
    assert len(asked.blocks()) == 4
    assert not any("more metrics" in note for note in asked.notes)
    out = io.StringIO()
    render(asked, "rich", console=Console(width=120, file=out))
    assert "followed beside word_perplexity" in out.getvalue()
