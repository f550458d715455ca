"""The table: which runs are paired, and what a pair says."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from lm_eval_steer.leaderboard import make_table
from lm_eval_steer.results import read_runs
from runs import write_run

UNPAIRED = ["-", "-", "-"]


def rows(*folders: Path) -> list[list[Any]]:
    table = make_table(read_runs(list(folders)))
    return [list(row) for row in zip(*(column.cells for column in table.columns), strict=True)]


def test_a_pair_by_hand(tmp_path: Path) -> None:
    #                                 lost  lost              gained
    write_run(tmp_path / "base", [0.0, 1.0, 1.0, 1.0, 0.0, 0.0])
    write_run(
        tmp_path / "steered",
        [0.0, 0.0, 0.0, 1.0, 1.0, 0.0],
        alpha=0.5,
        responses=["score 0.0", "x", "x", "score 1.0", "x", "changed, still wrong"],
    )
    assert rows(tmp_path / "steered", tmp_path / "base") == [
        ["child", "-", "toy", "text", "0", "6", "50.0%", "18.8% - 81.2%", *UNPAIRED],
        ["child", "parent", "toy", "text", "0.5", "6", "33.3%", "9.7% - 70.0%", "4 of 6", "+1 / -2", "1"],
    ]


def test_documents_are_paired_by_what_they_are_not_by_place(tmp_path: Path) -> None:
    write_run(tmp_path / "base", [0.0, 0.0, 1.0])
    path = write_run(tmp_path / "steered", [0.0, 0.0, 1.0], alpha=0.5)
    (samples,) = path.parent.glob("samples_*.jsonl")
    samples.write_text("".join(reversed(samples.read_text().splitlines(keepends=True))))
    assert rows(tmp_path)[1][8:] == ["0 of 3", "+0 / -0", "1"]


def test_a_small_p_does_not_become_zero(tmp_path: Path) -> None:
    write_run(tmp_path / "base", [0.0] * 12)
    write_run(tmp_path / "steered", [1.0] * 12, alpha=0.5)
    assert rows(tmp_path)[1][8:] == ["12 of 12", "+12 / -0", "0.00049"]


@pytest.mark.parametrize(
    "other",
    [
        {"first_doc": 1},
        {"prompt": "Say {}"},
        {"child": "org/other"},
        {"task": "other"},
        {"metric": "acc"},
        {"log_samples": False},
        {"alpha": 0.25},
        {"peft": "org/adapter"},
    ],
    ids=lambda other: next(iter(other)),
)
def test_not_paired_with_another(other: dict[str, Any], tmp_path: Path) -> None:
    write_run(tmp_path / "base", [0.0, 1.0], **other)
    write_run(tmp_path / "steered", [1.0, 1.0], alpha=0.5)
    (steered,) = [row for row in rows(tmp_path) if row[4] == "0.5"]
    assert steered[8:] == UNPAIRED


def test_a_steered_run_on_fewer_documents_is_not_paired(tmp_path: Path) -> None:
    write_run(tmp_path / "base", [0.0, 1.0, 1.0])
    write_run(tmp_path / "steered", [1.0, 1.0], alpha=0.5)
    assert rows(tmp_path)[1][8:] == UNPAIRED


def test_alpha_0_of_steered_hf_is_a_baseline(tmp_path: Path) -> None:
    write_run(tmp_path, [0.0, 1.0], alpha=0)
    write_run(tmp_path, [1.0, 1.0], alpha=-1)
    assert [row[4:6] + row[8:] for row in rows(tmp_path)] == [
        ["0", "2", *UNPAIRED],
        ["-1", "2", "1 of 2", "+1 / -0", "1"],
    ]


def test_a_run_without_samples_has_a_score_only(tmp_path: Path) -> None:
    write_run(tmp_path / "base", [0.0, 1.0])
    write_run(tmp_path / "steered", [1.0, 1.0], alpha=0.5, log_samples=False)
    assert rows(tmp_path)[1] == ["child", "parent", "toy", "text", "0.5", "2", "100.0%", "-", *UNPAIRED]


def test_a_score_that_is_not_right_or_wrong_has_no_interval_and_no_mcnemar(tmp_path: Path) -> None:
    write_run(tmp_path / "base", [12.5, 8.0], metric="words")
    write_run(tmp_path / "steered", [0.5, 0.25], alpha=0.5, metric="words")
    base, steered = rows(tmp_path)
    assert base[6:8] == ["10.25", "-"]
    assert steered[6:] == ["37.5%", "-", "2 of 2", "-", "-"]


def test_order_and_a_table_that_prints(tmp_path: Path) -> None:
    for alpha in (0.5, -0.25, None, 0.25, -0.5):
        write_run(tmp_path, [0.0, 1.0], alpha=alpha)
    write_run(tmp_path, [0.0, 1.0], child="org/another", alpha=0.5)
    table = make_table(read_runs([tmp_path]))
    assert list(table.columns[4].cells) == ["0.5", "0", "0.25", "-0.25", "0.5", "-0.5"]
    console = Console(width=140, file=io.StringIO())
    console.print(table)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    for column in table.columns:
        assert str(column.header) in text


def test_runs_through_a_chat_template_are_named(tmp_path: Path) -> None:
    write_run(tmp_path / "text", [0.0, 1.0])
    path = write_run(tmp_path / "chat", [0.0, 1.0], prompt="<user>{}+1=")
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"chat_template_sha": "d2a4"}))
    assert [row[3] for row in rows(tmp_path)] == ["text", "chat"]


def test_votes_and_controls_are_named_and_paired_with_the_baseline(tmp_path: Path) -> None:
    def control(name: str, alpha: Any) -> None:
        path = write_run(tmp_path / name, [1.0, 1.0], alpha=alpha, control=name)
        content = json.loads(path.read_text())
        content["config"]["steering"]["control"] = name
        path.write_text(json.dumps(content))

    control("identity", 0)
    control("random:1", 0.5)
    control("self-consistency", [0.5, 1])
    write_run(tmp_path, [0.0, 1.0], alpha=[0.5, 1])  # type: ignore[arg-type]
    write_run(tmp_path, [0.0, 1.0], alpha=0)
    assert [row[4:5] + row[8:] for row in rows(tmp_path)] == [
        ["0", *UNPAIRED],
        ["vote of 2", "0 of 2", "+0 / -0", "1"],
        ["identity 0", "1 of 2", "+1 / -0", "1"],
        ["random:1 0.5", "1 of 2", "+1 / -0", "1"],
        ["self-consistency vote of 2", "1 of 2", "+1 / -0", "1"],
    ]
