"""How long responses are and how many the limit cut: counted by hand, in a sweep, and in what is told of it."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.table import Table

import sweeps
from lm_eval_steer.axis.record import read_lines
from lm_eval_steer.compare.lengths import Lengths, add_up, show_lengths, tell_cuts
from lm_eval_steer.report.tables.board import read_leaderboard
from lm_eval_steer.sweep import make_notes, make_table
from test_record import make_choices, make_line


def shown(table: Table) -> str:
    out = io.StringIO()
    Console(file=out, width=240).print(table)
    return out.getvalue()


# Of the 32 new tokens that parity_steer allows: some responses of a model of chance run into it.
LIMIT = 6


def test_counts_of_three_responses() -> None:
    lines = [make_line(1, tokens=4, stop="eos"), make_line(2, tokens=7, stop="stop"), make_line(3, stop="length")]
    found = Lengths.of(lines)
    assert found == Lengths(responses=3, tokens=15, cut=1)
    assert found.to_json() == {"responses": 3, "tokens": 15, "mean_tokens": 5.0, "cut": 1}
    assert Lengths.read(json.loads(json.dumps(found.to_json()))) == found
    assert Lengths.read(None) is None
    assert show_lengths(found) == "5.0, 33 % cut"
    assert show_lengths(Lengths(1000, 41_000, 1)) == "41, 0.1 % cut"
    assert show_lengths(Lengths(2, 82, 0)) == "41"
    assert add_up([found, found]) == Lengths(6, 30, 2)


@pytest.mark.parametrize("unknown", [make_line(1, tokens=None), make_line(1, stop=None), make_choices(1)])
def test_what_does_not_say_its_length_leaves_it_unknown(unknown: Any) -> None:
    assert Lengths.of([make_line(0), unknown]) is None
    assert add_up([Lengths(1, 1, 0), Lengths.of([unknown])]) is None
    assert add_up([]) is Lengths.of([]) is None
    assert show_lengths(None) == "-"


def test_only_a_rise_of_a_tenth_of_the_responses_is_told() -> None:
    baseline = Lengths(20, 100, 1)
    arms = {"best": Lengths(20, 100, 2), "vote": Lengths(40, 400, 8), "negated": None, "short": Lengths(20, 20, 0)}
    (told,) = tell_cuts("toy", arms, baseline)
    assert told.startswith("vote of toy: the limit of new tokens cut 8 of 40 responses (20 %; without steering 5 %)")
    assert tell_cuts("toy", arms, None) == []


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """Six documents: some responses of some arms end by themselves, others at the limit."""
    folder = tmp_path_factory.mktemp("swept")
    with pytest.MonkeyPatch.context() as patch:
        sweeps.hurry(patch)
        child = sweeps.make_child(folder)
        wanted = {"alpha": [1, 4], "limit": 6.0, "val_limit": 2.0, "controls": "self-consistency"}
        gen_kwargs = {"max_gen_toks": LIMIT, "until": ["\nQ:", *"aeiou tn,."]}
        return folder / "s", sweeps.sweep(child, folder / "s", gen_kwargs=gen_kwargs, **wanted)


def test_an_arm_has_the_lengths_of_its_lines_in_the_record(swept: tuple[Path, dict[str, Any]]) -> None:
    folder, found = swept
    arms = found["tasks"]["parity_steer"]["test"]
    cuts = set()
    for name, arm in arms.items():
        result = json.loads((folder / arm["result"]).read_text())
        settings = result["config"]["steering"]["settings"]
        lines = [one for one in read_lines(folder / "record", task="parity_steer") if one.settings in settings]
        assert arm["lengths"] == {
            "responses": len(lines),
            "tokens": sum(one.tokens or 0 for one in lines),
            "mean_tokens": pytest.approx(sum(one.tokens or 0 for one in lines) / len(lines)),
            "cut": sum(one.stop == "length" for one in lines),
        }, name
        assert all(one.tokens == LIMIT for one in lines if one.stop == "length")
        cuts.add(arm["lengths"]["cut"] / arm["lengths"]["responses"])
    assert {"baseline", "best", "vote", "self-consistency"} == arms.keys()
    assert len(cuts) > 1


def test_tables_show_it_and_say_where_it_rises(swept: tuple[Path, dict[str, Any]]) -> None:
    folder, found = swept
    task = found["tasks"]["parity_steer"]
    text = shown(make_table("parity_steer", task, "alpha"))
    board = read_leaderboard([folder])
    (entry,) = board.entries()
    (block,) = (one for one in board.blocks() if {"arm", "verdict"} <= set(one.columns))
    assert set(entry["rivals"]["vote"]) == {"best", "self-consistency"}
    column = block.columns.index("length")
    for name, arm in task["test"].items():
        cell = show_lengths(Lengths.read(arm["lengths"]))
        assert cell in text
        assert entry["lengths"][name] == arm["lengths"]
        assert cell in [row[column] for row in block.rows]
    task["test"]["best"]["lengths"] = {"responses": 6, "tokens": 12, "cut": 6}
    task["test"]["baseline"]["lengths"] = {"responses": 6, "tokens": 12, "cut": 1}
    assert any("cut 6 of 6 responses (100 %; without steering 17 %)" in note for note in make_notes("toy", task))


def test_options_that_are_scored_have_no_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweeps.hurry(monkeypatch)
    child = sweeps.make_child(tmp_path)
    found = sweeps.sweep(child, tmp_path / "s", tasks=["sentiment_steer"], limit=2.0, val_limit=2.0, alpha=[1])
    task = found["tasks"]["sentiment_steer"]
    assert all(arm["lengths"] is None for arm in task["test"].values())
    assert "length" not in shown(make_table("sentiment_steer", task, "alpha"))
    (block,) = (one for one in read_leaderboard([tmp_path / "s"]).blocks() if {"arm", "verdict"} <= set(one.columns))
    assert "length" not in block.columns
