"""The figures draw the numbers that they were given, and their files are whole and the same every time."""

from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from lm_eval_steer.compare.counts import Agreement, Count
from lm_eval_steer.compare.doses import BlockDose
from lm_eval_steer.compare.text_costs import TextCost
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.controls import KINDS, Kind
from lm_eval_steer.report.figures import (
    Curve,
    OwnShare,
    Tradeoff,
    VoteChange,
    agreement,
    alpha_accuracy,
    check_figure,
    correlation,
    dose_by_block,
    effect_by_cost,
    save_figure,
    share_of_own,
    vote_change,
)
from lm_eval_steer.report.figures.style import ARMS, arm_label, arm_look
from lm_eval_steer.vectors.similarity import Cosines, Null

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def wilson(p: float, n: int) -> tuple[float, float]:
    """95 % Wilson interval in per cent, from its formula."""
    z = 1.959963985
    middle, half = p + z * z / (2 * n), z * (p * (1 - p) / n + (z / (2 * n)) ** 2) ** 0.5
    low, high = ((middle + side * half) / (1 + z * z / n) for side in (-1, 1))
    return round(100 * low, 4), round(100 * high, 4)


OF_30, OF_40 = wilson(0.3, 100), wilson(0.4, 100)


def curves(**changes: Any) -> list[Curve]:
    points = {0.5: Count(40, 100), 0.04: Count(30, 100)}
    baseline = Count(40, 100)
    return [
        Curve("child-a", "phi-4", points, **{"baseline": baseline} | changes),
        Curve("child-a", "phi-4", {0.04: Count(20, 100)}, baseline, "random"),
        Curve("child-a", "phi-4", {0.04: Count(25, 100)}, baseline, "random"),
        Curve("child-b", "Qwen", {0.04: Count(1, 100)}, Count(2, 100)),
    ]


CHANGES = [
    VoteChange("child-a", "phi-4", baseline=0.5, vote=0.55, low=-0.01, high=0.1),
    VoteChange("child-b", "phi-4", baseline=0.4, vote=0.3, low=-0.2, high=-0.05),
    VoteChange("child-a", "phi-4", baseline=0.5, vote=0.5, low=-0.05, high=0.05, control="random"),
]
DOSES = [
    BlockDose(0.04, 1, 0.001, 0.4),
    BlockDose(0.04, 0, 0.002, 0.9),
    BlockDose(0.5, 0, 0.025, 1.0),
    BlockDose(0.5, 1, 0.0125, None),
    BlockDose(0.0, 0, 0.0, None),
]
COSINES = Cosines(("A", "B"), ((3, 5), (0, 1, 2)), np.array([[0.9, 0.0, -0.5], [0.1, 0.2, -0.9]]), (64, 96))
VOTES = [
    *[Agreement(0.5, i < 30) for i in range(100)],
    *[Agreement(0.6, i < 10) for i in range(100)],
    *[Agreement(1.0, i < 40) for i in range(100)],
    Agreement(0.0, False, "self-consistency"),
]

SHARES = [
    OwnShare("a", "acc", "ridge best", 0.6, 0.5, 0.75),
    OwnShare("a", "log_odds", "ridge best", 0.7, 0.65, 0.75),
    OwnShare("a", "log_odds", "random best, 2 seeds", 0.0, -0.1, 0.1, "random"),
    OwnShare("b", "acc", "ridge best", 0.2, 0.1, 0.3),
]


def tradeoff(name: str, control: str = "", panel: str = "a") -> Tradeoff:
    costs = [TextCost(-0.01, -0.02, 0.0, 4, 9), TextCost(0.5, 0.4, 0.6, 4, 9), TextCost(3.0, None, None, 4, 9)]
    points = tuple(zip((1.0, 2.0, 4.0), (5.0, 20.0, -10.0), costs, strict=True))
    return Tradeoff(panel, name, points, 2.0, "change of acc, points", control)


TRADEOFFS = [
    *(tradeoff(name) for name in ("own", "ridge")),
    *(tradeoff(name, "random") for name in ("random:1", "random:2")),
    tradeoff("own", panel="b"),
]

DRAWN: dict[str, Callable[[], Figure]] = {
    "alpha_accuracy": lambda: alpha_accuracy(curves()),
    "vote_change": lambda: vote_change(CHANGES),
    "correlation": lambda: correlation(COSINES, Null(64)),
    "dose_by_block": lambda: dose_by_block(DOSES),
    "agreement": lambda: agreement(VOTES),
    "share_of_own": lambda: share_of_own(SHARES),
    "effect_by_cost": lambda: effect_by_cost(TRADEOFFS),
}


def lines(axes: Axes) -> dict[str, list[tuple[float, float]]]:
    """Label -> points of its (last) line."""
    found = {}
    for line in axes.get_lines():
        x, y = (np.asarray(values, float) for values in line.get_data())
        found[str(line.get_label())] = [(round(a, 4), round(b, 4)) for a, b in zip(x, y, strict=True)]
    return found


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def note(figure: Figure) -> str:
    return figure.legends[0].get_title().get_text()


def test_alpha_accuracy_draws_shares_and_wilson_bands_in_a_grid() -> None:
    figure = alpha_accuracy(curves())
    first, *_, second = figure.axes
    assert [axes.axison for axes in figure.axes] == [True, False, False, True]
    assert first.get_title() == "child-a\nvector from phi-4"
    assert second.get_title() == "child-b\nvector from Qwen"
    drawn = lines(first)
    assert drawn["the vector"] == [(0.04, 30.0), (0.5, 40.0)]  # in ascending order
    assert drawn["2 random directions"] == [(0.04, 25.0)]
    assert [y for _, y in drawn["unsteered (100 documents)"]] == [40.0, 40.0]
    bands = first.collections
    assert len(bands) == 3
    corners = {tuple(vertex) for vertex in np.round(bands[0].get_paths()[0].vertices, 4).tolist()}
    assert {(0.04, OF_30[0]), (0.04, OF_30[1]), (0.5, OF_40[0]), (0.5, OF_40[1])} <= corners
    (baseline,) = first.patches
    box = baseline.get_extents().transformed(first.transData.inverted())
    assert (round(box.y0, 4), round(box.y1, 4)) == OF_40
    assert first.get_xscale() == "log"
    for axes in (first, second):  # each is the lowest of its column and the first of its row
        assert axes.get_xlabel() == "strength α (length of the shift)"
        assert axes.get_ylabel() == "accuracy (%)"
        assert axes.yaxis.get_tick_params()["labelleft"]
        assert axes.xaxis.get_tick_params()["labelbottom"]
    assert legend(figure) == [
        "unsteered (100 documents)", "the vector", "2 random directions",
    ]  # fmt: skip


def test_alpha_accuracy_shows_strengths_as_they_are_written() -> None:
    figure = alpha_accuracy(curves()[:1])
    figure.draw_without_rendering()
    ticks = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert {"0.05", "0.1", "0.2", "0.5"} <= set(ticks)


def test_alpha_accuracy_of_negative_strengths_is_symmetric() -> None:
    points = {-0.5: Count(1, 2), 0.0: Count(1, 2), 0.04: Count(2, 2)}
    axes = alpha_accuracy([Curve("a", "b", points, Count(1, 2))]).axes[0]
    assert axes.get_xscale() == "symlog"
    assert lines(axes)["the vector"] == [(-0.5, 50.0), (0.0, 50.0), (0.04, 100.0)]


def test_arms_differ_without_colour() -> None:
    arms = ["", "random", "shuffled", "negated", "self-consistency", "identity"]
    figure = alpha_accuracy([Curve("a", "b", {0.1: Count(1, 2)}, Count(1, 2), arm) for arm in arms])
    drawn = figure.axes[0].get_lines()[1:]
    assert len({line.get_marker() for line in drawn}) == len({line.get_color() for line in drawn}) == 6
    bars = vote_change([VoteChange("a", "b", 0.5, 0.6, 0, 0.2, arm) for arm in arms]).axes[0].patches
    assert len({bar.get_hatch() or "" for bar in bars}) == 6
    many = [VoteChange("a", f"p{i}", 0.5, 0.6, 0, 0.2) for i in range(14)]
    looks = {(bar.get_hatch() or "", bar.get_facecolor()) for bar in vote_change(many).axes[0].patches}
    assert len(looks) == 14


def test_vote_change_is_relative_to_the_baseline() -> None:
    figure = vote_change(CHANGES)
    (axes,) = figure.axes
    assert [round(bar.get_width(), 6) for bar in axes.patches] == [10.0, 0.0, -25.0]  # child by child
    intervals = [list(line.get_xdata()) for line in axes.get_lines()[:3]]
    assert np.allclose(intervals, [[-2, 20], [-10, 10], [-50, -12.5]])
    assert [label.get_text() for label in axes.get_yticklabels()] == ["child-a", "child-b"]
    assert [text.get_text() for text in axes.texts] == ["+10.0 %", "+0.0 %", "−25.0 %"]
    assert legend(figure) == ["the vector from phi-4", "a random direction"]
    assert "crosses 0" in note(figure)
    assert axes.get_xlabel() == "change of accuracy, in % of the unsteered child's"


def test_vote_change_names_the_parent_where_there_are_several() -> None:
    other = VoteChange("child-a", "Qwen", 0.5, 0.5, -0.1, 0.1)
    assert legend(vote_change([*CHANGES, other])) == [
        "the vector from phi-4", "a random direction (phi-4)", "the vector from Qwen",
    ]  # fmt: skip


def test_share_of_own_has_a_panel_per_child_and_metric() -> None:
    panels = {axes.get_title(): axes for axes in share_of_own(SHARES).axes}
    assert list(panels) == ["a, acc", "a, log_odds", "b, acc", "b, log_odds"]
    odds = panels["a, log_odds"]
    assert [list(line.get_xdata()) for line in odds.get_lines()[:2]] == [[65, 75], [-10, 10]]
    assert [tuple(dots.get_offsets()[0]) for dots in odds.collections] == [(70, 0), (0, 1)]
    assert [label.get_text() for label in panels["a, acc"].get_yticklabels()] == ["ridge best", "random best, 2 seeds"]
    assert not panels["b, log_odds"].collections


def test_effect_by_cost_has_a_curve_per_vector_and_rings_what_was_chosen() -> None:
    figure = effect_by_cost(TRADEOFFS)
    first, second = figure.axes
    drawn = lines(first)
    assert drawn["own"] == drawn["2 random directions"] == [(-0.01, 5.0), (0.5, 20.0), (3.0, -10.0)]
    assert legend(figure) == ["own", "ridge", "2 random directions"]
    colours = {str(line.get_label()): line.get_color() for axes in (first, second) for line in axes.get_lines()}
    assert len({colours[name] for name in ("own", "ridge", "2 random directions")}) == 3
    assert (first.get_title(), first.get_ylabel(), second.get_title()) == ("a", "change of acc, points", "b")
    rings = [dots.get_offsets().tolist() for dots in second.collections if len(dots.get_offsets())]
    assert [[0.5, 20.0]] in rings
    bars = [bar.get_segments()[0].tolist() for bar in second.collections if hasattr(bar, "get_segments")]
    assert bars == [[[-0.02, 5.0], [0.0, 5.0]], [[0.4, 20.0], [0.6, 20.0]]]


def test_correlation_draws_the_matrix_and_what_chance_gives() -> None:
    null = Null(64)
    figure = correlation(COSINES, null)
    heatmap, histogram, bar = figure.axes
    assert np.array_equal(heatmap.images[0].get_array(), COSINES.values)
    assert heatmap.images[0].get_clim() == (-1, 1)
    assert (heatmap.get_ylabel(), heatmap.get_xlabel()) == ("block of A", "block of B")
    figure.draw_without_rendering()
    shown = {label.get_text() for label in heatmap.get_yticklabels()}
    assert {"3", "5"} <= shown <= {"3", "5", ""}  # the blocks, not their places
    counts = [bar.get_height() for bar in histogram.patches[:-1]]
    assert sum(counts) == 6
    stairs = histogram.patches[-1].get_data()
    assert stairs.values.sum() == pytest.approx(6, abs=1e-3)  # what random directions would give
    limit = null.quantile(0.95)
    assert [line.get_xdata()[0] for line in histogram.get_lines()[:2]] == pytest.approx([-limit, limit])
    assert histogram.get_title() == "50 % outside the dotted lines, by chance 5 %"
    assert note(figure) == "Compared are the first 64 of 96 components."
    assert legend(figure) == ["these 6 pairs", "random directions", "95 % of random directions lie between"]
    assert bar.get_ylabel() == "cosine (hatched: chance)"


def test_dose_by_block_draws_a_line_per_strength() -> None:
    figure = dose_by_block(DOSES)
    doses, survivals = figure.axes
    assert lines(doses) == {"α = 0.04": [(0, 0.2), (1, 0.1)], "α = 0.5": [(0, 2.5), (1, 1.25)]}
    assert lines(survivals)["α = 0.04"] == [(0, 90.0), (1, 40.0)]
    assert lines(survivals)["α = 0.5"] == [(0, 100.0)]
    assert doses.get_yscale() == "log"
    assert survivals.get_xlabel() == "block of the child"
    assert note(figure) == "h: the block's output. Hatched: less than 50 % of the shift is left."
    (only,) = dose_by_block([BlockDose(0.04, 0, 0.002)]).axes
    assert only.get_xlabel() == "block of the child"


def test_dose_by_block_names_seven_of_many_strengths() -> None:
    figure = dose_by_block([BlockDose(i / 10, block, i / 100) for i in range(1, 19) for block in (0, 1)])
    assert len(figure.axes[0].get_lines()) == 18
    assert len(legend(figure)) == 7
    assert legend(figure)[0] == "α = 0.1"
    assert legend(figure)[-1] == "α = 1.8"


def test_agreement_bins_votes_and_counts_them() -> None:
    figure = agreement(VOTES)
    (axes,) = figure.axes
    bars = axes.containers[0]
    assert np.allclose(bars[0].get_xydata(), [[55, 20], [100, 40]])  # 0.6 belongs to the bin that ends there
    (ends,) = bars[2]
    low, high = ends.get_segments()[1][:, 1]
    assert (round(low, 4), round(high, 4)) == OF_40
    assert [text.get_text() for text in axes.texts] == ["200", "100", "1"]
    assert np.allclose(axes.containers[1][0].get_xydata(), [[0, 0]])
    assert legend(figure) == ["right as often as it agrees", "the vector", "unsteered, sampled"]
    assert axes.get_ylabel() == "documents whose winner is right (%)"


@pytest.mark.parametrize("suffix", ["svg", "png"])
@pytest.mark.parametrize("name", DRAWN)
def test_the_same_figure_is_the_same_bytes(name: str, suffix: str, tmp_path: Path) -> None:
    first = save_figure(DRAWN[name](), tmp_path / f"first.{suffix}").read_bytes()
    second = save_figure(DRAWN[name](), tmp_path / f"second.{suffix}").read_bytes()
    assert first == second
    if suffix == "svg":
        assert ElementTree.fromstring(first).tag == "{http://www.w3.org/2000/svg}svg"
        assert b"<dc:date>" not in first
    else:
        assert first.startswith(b"\x89PNG")


def test_the_users_matplotlibrc_changes_nothing(tmp_path: Path) -> None:
    import matplotlib

    plain = save_figure(DRAWN["agreement"](), tmp_path / "a.svg").read_bytes()
    with matplotlib.rc_context({"font.size": 20, "svg.hashsalt": "x", "axes.grid": True, "text.parse_math": True}):
        assert save_figure(DRAWN["agreement"](), tmp_path / "b.svg").read_bytes() == plain


def test_a_name_is_no_formula(tmp_path: Path) -> None:
    figure = alpha_accuracy([Curve("a$\\x$", "b_<c>&", {0.1: Count(1, 2)}, Count(1, 2))])
    assert ElementTree.parse(save_figure(figure, tmp_path / "a.svg")).getroot().tag.endswith("svg")


def test_figures_are_written_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "figure.svg"
    path.write_text("old")
    figure = DRAWN["agreement"]()

    def fail(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(figure, "savefig", fail)
    with pytest.raises(KeyboardInterrupt):
        save_figure(figure, path)
    assert path.read_text() == "old"
    assert [one.name for one in tmp_path.iterdir()] == ["figure.svg"]


REFUSED: list[tuple[Callable[[], Any], str]] = [
    (lambda: alpha_accuracy([]), "there is nothing to draw: the figure was given no curves"),
    (lambda: vote_change([]), "given no rows"),
    (lambda: dose_by_block([]), "given no doses"),
    (lambda: effect_by_cost([]), "given no curves"),
    (lambda: effect_by_cost([Tradeoff("a", "own", (), None, "change")]), "given no points of own"),
    (lambda: dose_by_block([BlockDose(0, 0, 0)]), "given no dose of a strength other than 0"),
    (lambda: agreement([]), "given no votes"),
    (lambda: agreement([Agreement(18, True)]), "an agreement of 18 is no share: give 0 to 1"),
    (lambda: alpha_accuracy([Curve("a", "b", {}, Count(1, 2))]), "given no points of a steered by b"),
    (lambda: alpha_accuracy(curves(baseline=Count(41, 100))), "child-a has baselines of 41 of 100 and 40 of 100 right"),
    (lambda: alpha_accuracy([Curve("a", "b", {1: Count(1, 2)}, Count(1, 2), "ranom")]), "no control 'ranom' to draw"),
    (lambda: Count(3, 2), "3 of 2 documents right is no count"),
    (lambda: Count(0, 0), "0 of 0 documents right is no count"),
    (lambda: vote_change([VoteChange("a", "b", 0, 0.1, 0, 0.2)]), "a has a baseline of 0 %"),
    (lambda: save_figure(DRAWN["agreement"](), "a.jpg"), "a.jpg: a figure is written as .svg or .png, not '.jpg'"),
    (lambda: check_figure("a.pdf"), "not '.pdf'"),
]


@pytest.mark.parametrize(("draw", "sentence"), REFUSED)
def test_bad_input_is_one_sentence(draw: Callable[[], Any], sentence: str) -> None:
    with pytest.raises(SteeringError) as refused:
        draw()
    assert sentence in str(refused.value)


def test_a_place_that_cannot_be_written_is_told_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "a.svg").mkdir()
    with pytest.raises(SteeringError, match=r"a\.svg is a folder: name a file"):
        check_figure(tmp_path / "a.svg")


def test_without_matplotlib_the_command_that_brings_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(SteeringError) as refused:
        agreement(VOTES)
    assert str(refused.value) == (
        'figures need matplotlib, which is not installed: run pip install "lm_eval_steer[figures]"'
    )


def test_matplotlib_is_imported_by_drawing_only() -> None:
    code = (
        "import sys, lm_eval_steer.report.figures as figures, lm_eval_steer.compare.counts as counts\n"
        "before = 'matplotlib' in sys.modules\n"
        "figures.agreement([counts.Agreement(1, True)])\n"
        "print(before, 'matplotlib' in sys.modules, 'matplotlib.pyplot' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True", "False"]


def test_a_control_that_another_package_brings_has_a_look_and_its_own_name() -> None:
    KINDS.add("mirrored", Kind(lambda directions, seed: dict(directions)))
    try:
        assert arm_look("mirrored") not in ARMS.values()
        assert arm_label("mirrored") == "mirrored"
    finally:
        KINDS.remove("mirrored")
