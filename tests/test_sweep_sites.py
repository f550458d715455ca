"""One site at a time: blocks as arms of one sweep, each as a run of its own has it, one family, and the profile."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import models
from lm_eval_steer.compare.sites import block_of, site_name
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.report.figures import Block, Profile, effect_by_block, find_pictures
from lm_eval_steer.report.tables import read_leaderboard
from lm_eval_steer.sweep import make_notes
from lm_eval_steer.sweep import work as work_of_sweep
from lm_eval_steer.sweep.state import without_volatile
from sweeps import SMALL, hurry, make_args, make_child, responses, single, sweep, texts

BLOCKS = [site_name(block, models.DEPTH - 1) for block in range(models.DEPTH)]
EACH: dict[str, Any] = SMALL | {"sites": "each", "controls": "random:2", "limit": 4.0, "val_limit": 4.0}


@pytest.fixture(scope="module", autouse=True)
def hurried() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        hurry(patch)
        yield


@pytest.fixture(scope="module")
def child(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return make_child(tmp_path_factory.mktemp("child"))


@pytest.fixture(scope="module")
def done(child: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("sites")
    return folder, sweep(child, folder, **EACH)


def test_names_keep_their_order_and_are_read_back() -> None:
    assert [site_name(block, 29) for block in (0, 7, 29)] == ["block00", "block07", "block29"]
    assert [block_of(name) for name in ("block07", "block0", "all", "block7 random:1", None)] == [
        7,
        0,
        None,
        None,
        None,
    ]


def test_each_block_is_a_contender_with_controls_at_that_block(done: tuple[Path, dict[str, Any]]) -> None:
    task = done[1]["tasks"]["parity_steer"]
    vectors = ["all", *BLOCKS]
    found = [name for vector in vectors for name in (vector, f"{vector} random:1", f"{vector} random:2")]
    assert list(task["validation"]["scores"]) == found
    assert list(task["test"]) == ["baseline", *(f"{name} best" for name in found)]  # and no votes
    assert done[1]["settings"]["sites"] == "each"


@pytest.mark.parametrize("control", [None, "random:2"])
def test_arms_are_runs_of_their_own_with_layers(
    child: dict[str, Any], done: tuple[Path, dict[str, Any]], control: str | None
) -> None:
    task, seen = done[1]["tasks"]["parity_steer"], set()
    for block, name in enumerate(BLOCKS):
        contender = f"{name} {control}" if control else name
        more = {"control": control} if control else {}
        run = single(child, limit=4.0, layers=block, alpha=task["validation"]["best"][contender], **more)
        arm = task["test"][f"{contender} best"]
        assert responses(done[0], f"{contender.replace(' ', '_').replace(':', '-')}_best") == texts(run)
        assert arm["score"] == run["results"]["parity_steer"][arm["metric"]]
        seen.add(tuple(texts(run)))
    assert len(seen) > 1


def test_the_site_that_is_named_is_steered_in_each_block(child: dict[str, Any], tmp_path: Path) -> None:
    args = make_args(child | {"site": "mlp", "layers": "1-2"}, tmp_path, **EACH)
    plans = args.plans()
    assert [(name, plan.sites, plan.layers) for name, plan in plans.items() if "random" not in name] == [
        ("all", ("mlp",), "1-2"),
        ("block1", ("mlp",), 1),
        ("block2", ("mlp",), 2),
    ]
    assert plans["block2 random:2"].layers == 2


def test_one_family_a_row_per_block_and_a_note(done: tuple[Path, dict[str, Any]]) -> None:
    board = read_leaderboard([done[0]])
    (family,) = (one for one in board.families if "-" not in one.tests[0].split(" [")[0])
    assert len(family.tests) == 3 * (1 + models.DEPTH)
    assert [row.named for row in board.rows] == ["all", *BLOCKS]
    assert all(len(row.randoms(arm)) == 2 for row in board.rows for arm in row.of_vector)
    task = done[1]["tasks"]["parity_steer"]
    scores = {name: task["validation"]["scores"][name][f"{task['validation']['best'][name]:g}"] for name in BLOCKS}
    best = max(scores, key=lambda name: scores[name])
    (note,) = (one for one in make_notes("parity_steer", task) if one.startswith("of single blocks"))
    assert f"{block_of(best)} did best on parity_steer_val" in note
    assert f"at {task['validation']['best'][best]:g}: {task['test'][f'{best} best']['score']:.1%}" in note


def test_the_profile_is_drawn_of_blocks_and_no_other_figure_is(done: tuple[Path, dict[str, Any]]) -> None:
    pictures, _ = find_pictures(read_leaderboard([done[0]]), [])
    (profile,) = (one for one in pictures if one.name.startswith("effect_by_block"))
    above, below = profile.draw().axes[:2]
    part = done[1]["tasks"]["parity_steer"]["validation"]
    lines = {str(line.get_label()): line.get_xydata().tolist() for line in above.get_lines()}
    for alpha in ("1", "2"):
        changes = [100 * (part["scores"][name][alpha] - part["scores"]["all"]["0"]) for name in BLOCKS]
        assert lines[f"alpha {alpha}"] == [[block, pytest.approx(change)] for block, change in enumerate(changes)]
    test = done[1]["tasks"]["parity_steer"]["test"]
    points = [line.get_xydata().tolist()[0] for line in below.get_lines() if line.get_marker() == "o"]
    base = test["baseline"]["score"]
    assert points == [[n, pytest.approx(100 * (test[f"{name} best"]["score"] - base))] for n, name in enumerate(BLOCKS)]
    for one in pictures:
        if not one.name.startswith("effect_by_block"):
            assert not any("block" in axes.get_title() for axes in one.draw().axes)


def test_intervals_of_a_profile_are_bars_and_all_blocks_a_line() -> None:
    blocks = (Block(3, {0.1: 1.0, 0.2: 4.0}, 0.2, 3.0, 1.0, 5.0), Block(4, {0.1: 0.0, 0.2: -1.0}))
    above, below = effect_by_block(Profile("a", blocks, 6.0, "change of acc, points", "dose")).axes[:2]
    assert {str(line.get_label()): line.get_xydata().tolist() for line in above.get_lines()[:2]} == {
        "dose 0.1": [[3, 1.0], [4, 0.0]],
        "dose 0.2": [[3, 4.0], [4, -1.0]],
    }
    (bar,) = below.collections
    assert bar.get_segments()[0].tolist() == [[3, 1], [3, 5]]
    assert [list(line.get_ydata()) for line in below.get_lines() if line.get_linestyle() == "--"] == [[6.0, 6.0]]


def test_a_sweep_that_was_stopped_goes_on(
    child: dict[str, Any], done: tuple[Path, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []
    write = work_of_sweep.write_arm

    def stop_at_the_third(lm: Any, member: Any, *more: Any) -> None:
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(member.name)
        write(lm, member, *more)

    with monkeypatch.context() as patch:
        patch.setattr(work_of_sweep, "write_arm", stop_at_the_third)
        with pytest.raises(KeyboardInterrupt):
            sweep(child, tmp_path, **EACH)
    monkeypatch.setattr(
        work_of_sweep, "write_arm", lambda lm, member, *more: written.append(member.name) or write(lm, member, *more)
    )
    assert without_volatile(sweep(child, tmp_path, **EACH)) == without_volatile(done[1])
    assert len(written) == len(set(written)) == len(done[1]["tasks"]["parity_steer"]["test"])


@pytest.mark.parametrize(
    ("changes", "model_args", "sentence"),
    [
        ({"sites": "all"}, {}, "--sites 'all' is not understood: give each"),
        ({"sites": "each", "arms": "own=v.pt"}, {"vectors": None}, "--sites each takes one vector"),
        ({"sites": "each"}, {"layer_map": "proportional"}, "layer_map='proportional' brings them to others"),
        ({"sites": "each"}, {"layers": 1}, "--sites each has 1 blocks to try, for layers=1"),
        ({"sites": "each", "per_layer": "coordinate"}, {}, "--sites each steers one at a time"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    child: dict[str, Any], tmp_path: Path, changes: dict[str, Any], model_args: dict[str, Any], sentence: str
) -> None:
    given = {key: value for key, value in (child | model_args).items() if value is not None}
    with pytest.raises(SteeringError) as caught:
        make_args(given, tmp_path, **changes)
    assert sentence in str(caught.value)
