"""benchmarks/transfer.py from end to end: a parent that is the child in another basis moves it as its own vector."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

import twins
from conftest import make_vector
from transfers import make_child, save_llama, sentences, write_jsonl

TEXTS, DOCS, PAIRS = 160, 16, 12


def load_benchmark() -> ModuleType:
    """The script as a module; a folder of scripts is no package."""
    path = Path(__file__).parents[1] / "benchmarks" / "transfer.py"
    spec = importlib.util.spec_from_file_location("benchmark_transfer", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look for annotations
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_a_twins_direction_does_what_the_childs_own_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lm_eval_steer.transfer.texts.held_questions", frozenset)  # reading them takes a second
    child = make_child()
    save_llama(child, tmp_path / "child")
    save_llama(twins.rotated(child), tmp_path / "parent")
    write_jsonl(tmp_path / "texts.jsonl", [{"text": text} for text in sentences(TEXTS, seed=1)])
    told = f"--parent {tmp_path / 'parent'} --child {tmp_path / 'child'} --texts {tmp_path / 'texts.jsonl'} --n {TEXTS}"
    told += f" --pairs 8 --maps procrustes --shuffled 1 --random 2 --limit {DOCS} --cost_texts 4 --dose 0.02"
    load_benchmark().main(told.split())
    printed = capsys.readouterr().out
    assert f"parent to child, dose 0.02, {DOCS} documents, {PAIRS} pairs of words, {TEXTS} texts" in printed
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in printed.splitlines() if line.startswith("|")]
    rows = {row[0]: row[1:] for row in cells[2:]}
    mapped, shuffled = "procrustes, proportional", "procrustes, proportional, texts at random 1"
    assert list(rows) == ["own", mapped, shuffled, "cut, greedy", "random 1", "random 2", "random, mean of 2"]
    effect = {name: float(row[0].split()[0]) for name, row in rows.items()}
    cosine = {name: float(row[2]) for name, row in rows.items() if row[2]}
    assert {row[1] for row in rows.values()} == {""}  # of an effect that may be 0, in a model that knows no words
    assert effect[mapped] == pytest.approx(effect["own"], abs=0.02)
    assert effect["random, mean of 2"] == pytest.approx((effect["random 1"] + effect["random 2"]) / 2, abs=0.006)
    assert cosine["own"] == 1
    assert cosine[mapped] > 0.98
    assert max(abs(cosine[name]) for name in (shuffled, "cut, greedy")) < 0.3
    assert set(cosine) == {"own", mapped, shuffled, "cut, greedy"}
    assert float(rows[mapped][3]) > 0.9 > 0.2 > float(rows[shuffled][3])
    assert [row[3] for name, row in rows.items() if name not in (mapped, shuffled)] == [""] * 5
    assert float(rows[mapped][4]) == pytest.approx(float(rows["own"][4]), abs=0.01)
    told = dict(line.split(": ") for line in printed.rpartition("\n\n")[2].splitlines())
    assert [what.split(",")[0] for what in told] == [
        "A transfer from nothing",
        "Forward passes of both models over the texts alone",
        "A transfer from the cache",
    ]
    assert all(re.match(r"[\d.]+ s, [\d.]+ s of the processors", seconds) for seconds in told.values())
    shares = [re.search(r"; ([\d.]+) and ([\d.]+) of the forward passes", seconds) for seconds in told.values()]
    assert [share is not None for share in shares] == [True, False, True]


def test_the_share_of_own_and_its_intervals() -> None:
    """Effects that are half of own's on every document are half of it in every resample; t over pairs of words."""
    benchmark = load_benchmark()
    own = make_vector()
    reference = [1.0, 2.0, 3.0, 2.0] * 5
    measured = benchmark.Measured([effect / 2 for effect in reference], 0.25)
    pairs = [number // 4 for number in range(20)]
    for words, reach in ((range(20), 0.1699), (pairs, 0.0), ([0, 1, 2, 1] * 5, 0.9315)):
        line = benchmark.row("half", own, measured, own, reference, words)
        name, effect, share, cosine, explained, cost = (cell.strip() for cell in line.split("|")[1:-1])
        assert (name, share, cosine, explained, cost) == ("half", "50% (50% to 50%)", "1.00", "", "+0.250")
        assert effect == f"+1.00 ({1 - reach:+.2f} to {1 + reach:+.2f})"
    alone = benchmark.row("half", own, measured, own, reference, [0] * 20)
    assert [cell.strip() for cell in alone.split("|")[2:4]] == ["+1.00", ""]  # of one pair of words nothing follows
