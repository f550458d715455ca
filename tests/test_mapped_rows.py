"""Runs with transferred vectors in the leaderboard and on the page: whose they are, and how they were mapped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from conftest import make_transferred
from lm_eval_steer.compare.runs import read_runs
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.plan import SteeringPlan
from lm_eval_steer.report.page.settings import facts_of_row
from lm_eval_steer.report.tables import read_leaderboard
from lm_eval_steer.report.tables.entries import entry, short_names
from lm_eval_steer.vectors.identity import Identity
from lm_eval_steer.vectors.vector import SteeringVector
from runs import write_run


def steered_by(vector: SteeringVector) -> dict[str, Any]:
    """What a run with it records."""
    plan = SteeringPlan.build(vectors=vector, alpha=1.0)
    child = plan.fit(3, 8, Identity("child"))
    return plan.settings() | {"transfer": child.report, "passport": vector.passport}


def write(folder: Path, *vectors: SteeringVector) -> list[dict[str, Any]]:
    """Runs of one child without steering and with each vector; the leaderboard's entries."""
    write_run(folder / "plain", [0.0, 1.0])
    for number, vector in enumerate(vectors):
        write_run(folder / str(number), [1.0, 1.0], alpha=1.0, steering=steered_by(vector))
    board = read_leaderboard([folder])
    return [entry(row, board.names) for row in board.rows]


def test_parents_and_maps_are_named(tmp_path: Path) -> None:
    cut = make_transferred(blocks=3, width=8, width_map={"name": "cut"}, layer_map={"name": "greedy"}, texts=None)
    both = make_transferred(blocks=3, width=8, seed=1, parents=2)
    told = {(row["parent"], row["vector"]) for row in write(tmp_path, cut, both)}
    assert told == {
        ("parent-0", "v"),
        ("parent-0 + parent-1", "v layer_map=proportional width_map=ridge:0.05"),
    }


def test_files_with_other_maps_are_other_vectors(tmp_path: Path) -> None:
    """Also where their maps have the same names: by their directions."""
    rows = write(tmp_path, *(make_transferred(blocks=3, width=8, seed=seed) for seed in range(2)))
    assert len({row["vector"] for row in rows}) == len(rows) == 2


def test_names_of_parents_are_short_where_that_tells_them_apart() -> None:
    names = ["org/a + org/b", "org/a", "else/b", "-"]
    assert list(short_names(names).values()) == ["a + org/b", "a", "else/b", "-"]


def test_the_page_says_how_the_vector_came_and_leaves_out_its_thousands(tmp_path: Path) -> None:
    vector = make_transferred(blocks=3, width=8, cka=[[0.5] * 3] * 5, texts={"rows": ["ab"] * 1400})
    vector.passport["blocks"] = [{"block": 0, "mean_norm": 3.0}]
    write(tmp_path, vector)
    (row,) = read_leaderboard([tmp_path]).rows
    facts = {block.title: block for block in facts_of_row(row)}
    assert ["width_map", "ridge:0.05"] in facts["From parent to child"].rows
    assert ["transferred", "true"] in facts["From parent to child"].rows
    passport = facts["Passport of the vector"].rows
    assert ["transfer.texts.rows", "ab, ab, ab, ... (1400 in all)"] in passport
    assert not any("cka" in key or "blocks" in key for key, _ in passport if "num_blocks" not in key)
    by_block = facts["The vector by block"]
    assert by_block.columns == ["block", "source", "r2", "length", "cos_cut"]
    assert by_block.rows[2] == ["2", "2", "0.5", "0.5", "0.01"]


def test_a_damaged_transfer_in_a_result_file_is_one_sentence(tmp_path: Path) -> None:
    passport = make_transferred(blocks=3, width=8).passport
    damaged = passport | {"transfer": passport["transfer"] | {"parents": "all"}}
    write_run(tmp_path, [1.0], alpha=1.0, steering={"passport": damaged})
    with pytest.raises(SteeringError, match=r"passport\.transfer\.parents is 'all', expected a list"):
        read_runs([tmp_path])
