"""benchmarks/operators_study: RESULTS says what the summary says, and numbers are what they are called."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
STUDY = ROOT / "benchmarks" / "operators_study"


def check(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "benchmarks/operators_study/tables.py", *words]
    return subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)


def test_page_and_figure_are_made_of_the_summary() -> None:
    done = check("--check")
    assert done.returncode == 0, done.stderr


def test_a_page_that_says_another_number_is_found(tmp_path: Path) -> None:
    for name in ("docs/RESULTS.md", "docs/figures/operators.svg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    page = tmp_path / "docs/RESULTS.md"
    text = page.read_text(encoding="utf-8")
    place = text.index("<!-- operators: table -->")
    page.write_text(text[:place] + text[place:].replace("+", "-", 1), encoding="utf-8")
    done = check("--check", "--root", str(tmp_path))
    assert (done.returncode, "docs/RESULTS.md" in done.stderr) == (1, True)


def test_the_summary_holds_the_price_and_controls_of_enough_rows() -> None:
    found = json.loads((STUDY / "summary.json").read_text(encoding="utf-8"))
    assert '"/' not in (STUDY / "summary.json").read_text(encoding="utf-8")
    for name, entry in found.items():
        assert entry["n"] >= 48, name
        assert entry["pairs"] >= 16, name
        costs = [one["cost"]["value"] for one in entry["curve"]]
        assert costs == sorted(costs) or "/set" in name, name  # a value may be set nearer to what it was
        if name.endswith("/add"):
            assert entry["own"]["cost"]["value"] == pytest.approx(0.1, rel=0.1), name
        if name.endswith("/block/add"):
            assert len(entry["random"]) == 2, name


def test_differences_are_paired_by_row_and_their_intervals_by_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(STUDY))
    import summary

    def line(cell: str, whose: str, strength: float, cost: float, odds: list[float]) -> dict[str, object]:
        told = {"cell": cell, "whose": whose, "strength": strength, "seconds": 1.0}
        return told | {"cost": [cost, cost + 1], "log_odds": odds, "words": ["a", "a", "b", "b"]}

    of = "smollm2/sentiment"
    measured = [
        line(f"{of}//", "", 0.0, 2.0, [0.0, 1.0, 2.0, 3.0]),
        line(f"{of}/block/add", "own", 0.5, 2.04, [0.5, 1.5, 3.5, 4.5]),
        line(f"{of}/block/add", "own", 1.0, 2.11, [1.0, 2.0, 5.0, 6.0]),
        line(f"{of}/block/turn", "own", 3.0, 2.1, [2.0, 2.0, 5.0, 7.0]),
        line(f"{of}/block/turn", "random:1", 9.0, 2.1, [0.0, 1.0, 2.0, 4.0]),
    ]
    found = summary.summarise(measured)
    add, turn = found[f"{of}/block/add"], found[f"{of}/block/turn"]
    assert (add["own"]["strength"], add["own"]["change"]["value"]) == (1.0, 2.0)
    assert [one["strength"] for one in add["curve"]] == [0.5, 1.0]
    assert turn["minus_add"]["value"] == 0.5
    # Two pairs of endings, whose means are 1 and 3: t of one degree of freedom, 12.706, times their error, 1.
    assert (add["own"]["change"]["low"], add["own"]["change"]["high"]) == (
        pytest.approx(-10.7062),
        pytest.approx(14.7062),
    )
    assert turn["random"]["random:1"]["change"]["value"] == 0.25
    assert summary.whole(found, measured) == {}, "random directions are still to be asked"
    measured += [line(f"{of}/block/turn", "random:2", 9.0, 2.1, [0.0, 1.0, 2.0, 4.0])]
    assert summary.whole(found, measured) == {f"{of}/block/turn": turn}
    assert summary.whole(found, [one for one in measured if "/add" not in str(one["cell"])]) == {}


def test_the_strength_at_a_price_lies_on_a_line_of_logarithms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(STUDY))
    from prices import one_that_costs

    assert one_that_costs(0.1, {1.0: 0.01, 2.0: 0.04, 4.0: 0.16}) == pytest.approx(10**0.5, rel=0.01)  # cost = 0.01 s²
    assert one_that_costs(0.1, {1.0: -0.5, 2.0: 0.1}) == 2.0
    assert one_that_costs(0.1, {1.0: 0.3, 2.0: 0.2, 4.0: 0.9}) == 2.0  # all cost more: the cheapest
    assert one_that_costs(0.1, {1.0: 0.01, 2.0: 0.02}) == 2.0  # all cost less: the largest
