"""Tables: names and entries, sentences for what is wrong, and entries of other packages."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.table import Table


def test_names_entries_and_sentences() -> None:
    table = Table("width map", {"cut": 1})
    table.add("pad", 2)
    assert (table["pad"], table.names, list(table), "cut" in table, "x" in table) == (
        *(2, ("cut", "pad")),
        *(["cut", "pad"], True, False),
    )
    with pytest.raises(SteeringError, match=r"^there is a width map cut already: choose another name$"):
        table.add("cut", 3)
    with pytest.raises(SteeringError, match=r"^there is no width map 'x': use one of cut, pad$"):
        table["x"]
    table.remove("pad")
    assert table.names == ("cut",)


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, target: str) -> None:
    """A package that brings one entry."""
    info = folder / "other-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[lm_eval_steer.width_maps]\ntheirs = {target}\n")
    (folder / "brought.py").write_text("ENTRY = 42\n")
    monkeypatch.syspath_prepend(folder)
    sys.modules.pop("brought", None)


def test_entries_of_other_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, "brought:ENTRY")
    table = Table("width map", {"cut": 1})
    assert table["theirs"] == 42
    assert table.names == ("cut", "theirs")


def test_a_broken_one_is_told_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, "brought:MISSING")
    table = Table("width map", {"cut": 1})
    with pytest.raises(SteeringError, match=r"^the width map theirs of brought:MISSING cannot be imported \(.*repair"):
        _ = table.names
    with pytest.raises(SteeringError, match="cannot be imported"):  # also when it is asked again
        table["cut"]
