"""Sweeps of several parents and children, told together: the map of their changes, and a sentence per parent."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from matplotlib.patches import Rectangle
from statsmodels.stats.multitest import multipletests

from lm_eval_steer.compare.families import STUDY
from lm_eval_steer.compare.responses import read_responses
from lm_eval_steer.compare.rows import BEST
from lm_eval_steer.report.figures import find_pictures
from lm_eval_steer.report.figures.change_by_pair import PairChange, change_by_pair
from lm_eval_steer.report.page.page import make_page
from lm_eval_steer.report.tables import Leaderboard, read_leaderboard, render
from lm_eval_steer.report.tables.parents import tell_parents
from runs import write_record, write_sweep

N = 40
HALF, WHOLE, NOTHING = [0.0, 1.0] * (N // 2), [1.0] * N, [0.0] * N
"""Scores of a baseline, and of arms that help and that hurt it beyond doubt."""


def write_pair(folder: Path, child: str, parent: str, best: list[float], seeds: int = 5, task: str = "toy") -> None:
    """A sweep of one vector with random vectors that do nothing."""
    arms: dict[str, tuple[Any, list[float]]] = {"baseline": (0, HALF), "best": (0.5, best)}
    arms |= {f"random:{seed} best": (0.5, HALF) for seed in range(1, seeds + 1)}
    steering = {"transfer": {"parent": parent}, "vector": parent}
    write_sweep(folder / f"{child}-{parent}-{task}", arms, task=task, child=child, steering=steering)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Leaderboard:
    """Two children and two parents, of which one pair is missing."""
    folder = tmp_path_factory.mktemp("study")
    write_pair(folder, "a", "one", WHOLE)
    write_pair(folder, "b", "one", HALF)
    write_pair(folder, "a", "two", NOTHING)
    write_pair(folder, "a", "two", WHOLE, seeds=0, task="other")
    return read_leaderboard([folder])


def test_a_sentence_per_parent(study: Leaderboard) -> None:
    told = [note for note in study.notes if note.startswith("Vectors of ")]
    assert told == [
        "Vectors of two, each at its best strength, beat random directions on toy in 0 of 1 child; on other nobody "
        "knows (it takes --controls random:2 or more).",
        "Vectors of one, each at its best strength, beat random directions on toy in 1 of 2 children (a).",
    ]
    page = make_page(study)
    assert page.index(told[0]) < page.index('<section id="table">')


def test_own_vectors_of_all_children_are_told_together_and_maps_of_a_parent_apart(study: Leaderboard) -> None:
    rows = []
    for row, vector in zip(study.rows, ("own", "cut", "cut", "ridge"), strict=True):
        part = row.parts[BEST]
        rows.append(replace(row, parts=row.parts | {BEST: replace(part, arm=replace(part.arm, vector=vector))}))
    does = "each at its best strength, beat random directions on toy in"
    assert tell_parents(rows, study.names) == [
        f"Vectors of one (cut), {does} 1 of 1 child (a).",
        f"Vectors of two, {does} 0 of 1 child.",
        f"Vectors of one (ridge), {does} 0 of 1 child.",
    ]
    rows = [replace(row, parts=row.parts | {BEST: rows[0].parts[BEST]}) for row in rows]
    assert tell_parents(rows[1:], study.names) == [f"The children's own vectors, {does} 1 of 3 children (a)."]


def test_the_map_has_a_cell_per_pair_and_frames_for_verdicts(study: Leaderboard) -> None:
    pictures, missing = find_pictures(study, read_responses(study.rows, study.records))
    drawn = {picture.name: picture for picture in pictures}
    axes = drawn["change_by_pair-toy"].draw().axes[0]
    texts = {(text.get_position()[1], text.get_position()[0]): text.get_text().split("\n")[0] for text in axes.texts}
    lines, columns = (
        [label.get_text() for label in ticks] for ticks in (axes.get_yticklabels(), axes.get_xticklabels())
    )
    cells = {(lines[int(line)], columns[int(column)]): text for (line, column), text in texts.items()}
    assert cells == {("one", "a"): "+50.0", ("one", "b"): "+0.0", ("two", "a"): "-50.0"}
    frames = {patch.get_linestyle() for patch in axes.patches if isinstance(patch, Rectangle)}
    assert frames == {"-", "--"}
    assert "change_by_pair-other" not in drawn  # one pair is no map
    assert not any("parents" in sentence for sentence in missing)


def test_a_family_of_the_whole_study(study: Leaderboard) -> None:
    """A third of the verdicts' doubt is shared by all: Holm over every test of both children and tasks."""
    whole = read_leaderboard(study.folders, family="study")
    (family,) = whole.families
    assert (family.child, family.task) == STUDY
    assert sorted(len(one.tests) for one in study.families) == [1, 6, 12]
    assert len(family.tests) == len(set(family.tests)) == 19
    ps = [change.verdict.mcnemar_p for row in whole.rows for change in row.changes.values() if change.verdict]
    adjusted = [change.verdict.holm_p for row in whole.rows for change in row.changes.values() if change.verdict]
    assert adjusted == pytest.approx(multipletests(ps, method="holm")[1])
    assert "Family of all children and tasks that were read (Holm over 19 tests); JSON names its tests." in whole.notes
    (told,) = json.loads(render(whole, "json"))["families"]
    assert (told["child"], told["task"], len(told["tests"])) == (None, None, 19)


def test_a_page_of_many_sweeps_leaves_their_responses_to_pages_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_pair(tmp_path, "a", "one", WHOLE)
    write_pair(tmp_path, "b", "one", HALF)
    for name in ("a-one-toy", "b-one-toy"):
        write_record(tmp_path / name / "record", {("", 0.0): [("said without steering", "2")] * N})
    board = read_leaderboard([tmp_path])
    assert 'id="block-0"' in make_page(board)
    monkeypatch.setattr("lm_eval_steer.report.page.extent.MOST_READ", 1000)
    page = make_page(board)
    assert 'id="block-0"' not in page
    for number, name in enumerate(("a-one-toy", "b-one-toy"), start=1):
        assert f"lm-eval-steer report {tmp_path / name} --out samples-{number}.html" in page
    assert 'id="block-0"' in make_page(read_leaderboard([tmp_path / "a-one-toy"]))  # one sweep is always whole


def test_a_map_has_room_for_parents_with_long_names() -> None:
    name = "smollm2 (smollm2: smollm2_gsm8k_direct_for_qwen2.5-coder-1.5b tokens=last layer_map=proportional)"
    pairs = [PairChange(parent, "child", 0.1, "+1.0\n0.0 to +2.0", "") for parent in ("own", name)]
    figure = change_by_pair(pairs)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # where nothing is left for the map
        figure.draw_without_rendering()
    (axes,) = figure.axes
    assert axes.get_position().width * figure.get_figwidth() > 1
    told = axes.get_yticklabels()[1]
    assert told.get_text().replace("\n", "").replace(" ", "") == name.replace(" ", "")
    assert told.get_window_extent().height < axes.get_window_extent().height / 2
