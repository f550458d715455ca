"""The paper's Table 1 of a study, whose vectors have one name over all tasks."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

import runs
from lm_eval_steer.axis.record import digest
from lm_eval_steer.compare.arms import BASELINE, Arm
from lm_eval_steer.compare.rows import BEST
from lm_eval_steer.report.tables import read_leaderboard, render


def test_what_a_study_calls_its_vectors_is_one_row_over_tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each task has vectors of its own, as its own pairs make them."""
    for task in ("toy", "other"):
        monkeypatch.setattr(runs, "digest", lambda content, task=task: digest([task, *content]))
        arms: dict[Arm, list[float]] = {BASELINE: [0.0, 1.0]}
        arms |= {replace(BEST, vector=name): [1.0, 1.0] for name in ("own", "cut")}
        runs.write_named_sweep(tmp_path / task, arms, task=task)
    table = render(read_leaderboard([tmp_path]), "markdown", "table1", Console(file=io.StringIO()))
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines() if line.startswith("|")]
    assert sorted(row[0].split(", ")[1] for row in rows[2:]) == ["cut", "own"]
    assert all(row[2:] == ["50.0%", "100.0% (+50.0)", "50.0%", "100.0% (+50.0)"] for row in rows[2:])
