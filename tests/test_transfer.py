"""Layer map, width map and the report, with numbers worked out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.child import into_child
from lm_eval_steer.interventions.layer_maps import LAYER_MAPS, LayerMap, greedy
from lm_eval_steer.interventions.layers import parse_layers
from lm_eval_steer.interventions.width_maps import cut, cut_raw
from lm_eval_steer.text import span
from lm_eval_steer.vectors.vector import SteeringVector

# Blocks 0, 1 and 3 of a parent of five blocks, four wide.
DIRECTIONS = [[0.48, 0.64, 0.6, 0.0], [0.5, -0.5, 0.5, -0.5], [0.0, 0.0, 0.0, 1.0]]
VECTOR = SteeringVector(
    np.array(DIRECTIONS, dtype=np.float32), (0, 1, 3), {"parent": {"name": "p", "hidden_size": 4, "num_blocks": 5}}
)


def fit(blocks: int, width: int, layers: Any = "all", width_map: str = "cut", layer_map: str = "greedy") -> Any:
    return into_child(VECTOR, blocks, width, layers=layers, layer_map=layer_map, width_map=width_map)


@pytest.mark.parametrize(
    ("parent_layers", "child_blocks", "sources"),
    [
        ((0, 1, 2), 3, {0: 0, 1: 1, 2: 2}),
        ((0, 1, 2), 2, {0: 0, 1: 1}),
        ((0, 1, 2), 8, {0: 0, 1: 1, 2: 2}),
        ((1, 4), 4, {1: 1}),
        ((4, 5), 4, {}),
    ],
)
def test_greedy(parent_layers: tuple[int, ...], child_blocks: int, sources: dict[int, int]) -> None:
    assert greedy(parent_layers, 6, child_blocks) == sources


@pytest.mark.parametrize(
    ("spec", "layers"),
    [
        ("all", None),
        ("7", (7,)),
        (7, (7,)),
        (0, (0,)),
        ("10-11", (10, 11)),
        (" 3-5 ", (3, 4, 5)),
        ("4-4", (4,)),
        ([1, 4], (1, 4)),
        ((4, 1, 4), (1, 4)),
        ("0-11", tuple(range(12))),
    ],
)
def test_parse_layers(spec: Any, layers: tuple[int, ...] | None) -> None:
    assert parse_layers(spec, 12) == layers


NOT_UNDERSTOOD = "is not understood: use all, 7, 10-20 or [1,4]"


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        *[
            (spec, f"layers={spec!r} {NOT_UNDERSTOOD}")
            for spec in ("", "some", "1,4", "-1", "3-", "-3", "1-2-3", "1.5", 1.5, True, None, [1, True], ["1"], [1.0])
        ],
        ({"1": 2}, f"layers={{'1': 2}} {NOT_UNDERSTOOD}"),
        ("[1", f"layers='[1' {NOT_UNDERSTOOD}"),
        ([], "layers=[] names no block: use all, 7, 10-20 or [1,4]"),
        ("5-4", "layers='5-4' names no block: use all, 7, 10-20 or [1,4]"),
        (12, "layers=12 names block 12, but the model has blocks 0 to 11"),
        (-1, "layers=-1 names block -1, but the model has blocks 0 to 11"),
        ("10-20", "layers='10-20' names block 12, but the model has blocks 0 to 11"),
        ([1, -2], "layers=[1, -2] names block -2, but the model has blocks 0 to 11"),
        ("0-999999999999999", "layers='0-999999999999999' names block 12, but the model has blocks 0 to 11"),
    ],
)
def test_parse_layers_refuses(spec: Any, words: str) -> None:
    with pytest.raises(SteeringError) as caught:
        parse_layers(spec, 12)
    assert str(caught.value) == words


@pytest.mark.parametrize(
    ("width", "expected"),
    [
        (4, [0.48, 0.64, 0.6, 0.0]),
        (3, [0.48, 0.64, 0.6]),
        (2, [0.6, 0.8]),  # 0.48² + 0.64² = 0.8²
        (1, [1.0]),
        (6, [0.48, 0.64, 0.6, 0.0, 0.0, 0.0]),
    ],
)
def test_cut(width: int, expected: list[float]) -> None:
    fitted = cut(VECTOR.directions[0], width)
    assert fitted.dtype == np.float32
    assert np.allclose(fitted, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("width", "expected"), [(4, [0.48, 0.64, 0.6, 0.0]), (2, [0.48, 0.64]), (5, [0.48, 0.64, 0.6, 0.0, 0.0])]
)
def test_cut_raw_leaves_the_length(width: int, expected: list[float]) -> None:
    assert cut_raw(VECTOR.directions[0], width).tolist() == np.array(expected, dtype=np.float32).tolist()


@pytest.mark.parametrize("width", [1, 7, 33, 64, 100])
def test_cut_gives_unit_length_and_keeps_the_parent(width: int) -> None:
    direction = np.random.default_rng(width).normal(size=64).astype(np.float32)
    before = direction.copy()
    fitted = cut(direction, width)
    assert fitted.shape == (width,)
    assert abs(np.linalg.norm(fitted.astype(np.float64)) - 1) < 1e-6
    assert fitted is not direction
    assert np.array_equal(direction, before)


def test_cut_leaves_what_has_length_1() -> None:
    """So that `cut` and `cut-raw` are the same for a child of the parent's width."""
    for direction in VECTOR.directions:
        assert np.array_equal(cut(direction, 4), direction)
        assert np.array_equal(cut(direction, 6), cut_raw(direction, 6))
    assert abs(np.linalg.norm(cut(VECTOR.directions[0] * np.float32(1.0001), 4).astype(np.float64)) - 1) < 1e-7


def test_another_layer_map_is_named_in_the_report_and_in_refusals() -> None:
    """Blocks 3 and 0 of the parent's five go to blocks 1 and 2 of a child."""
    LAYER_MAPS.add("turned", LayerMap("from behind", lambda layers, parent, child: {2: layers[0], 1: parent - 2}))
    try:
        child = fit(blocks=3, width=4, layer_map="turned")
        assert child.sources == {1: 3, 2: 0}
        assert list(child.directions) == [1, 2]
        assert np.array_equal(child.directions[1], VECTOR.directions[2])
        assert np.array_equal(child.directions[2], VECTOR.directions[0])
        assert (child.report["layer_map"], child.report["steered_blocks"]) == ("turned", [1, 2])
        with pytest.raises(SteeringError, match=r"0, 1, 3 only and the layer map is turned \(from behind\)$"):
            fit(blocks=3, width=4, layers=0, layer_map="turned")
    finally:
        LAYER_MAPS.remove("turned")


@pytest.mark.parametrize("fit_width", [cut, cut_raw])
def test_nothing_left_to_add(fit_width: Any) -> None:
    with pytest.raises(SteeringError) as caught:
        fit_width(np.array([0, 0, 0, 1], dtype=np.float32), 3)
    assert str(caught.value) == ("the first 3 of the direction's 4 components are all zero: nothing is left to add")


def test_a_shallower_child_takes_what_it_has() -> None:
    child = fit(blocks=2, width=2)
    assert child.sources == {0: 0, 1: 1}
    assert np.allclose(child.directions[0], [0.6, 0.8], atol=1e-6)
    assert np.allclose(child.directions[1], [0.5**0.5, -(0.5**0.5)], atol=1e-6)
    assert child.report == {
        "parent": "p",
        "parent_blocks": 5,
        "parent_hidden_size": 4,
        "child_blocks": 2,
        "child_hidden_size": 2,
        "layer_map": "greedy",
        "width_map": "cut",
        "steered_blocks": [0, 1],
    }


def test_a_deeper_child_is_steered_where_the_parent_has_directions() -> None:
    child = fit(blocks=9, width=5, width_map="cut-raw")
    assert child.report["steered_blocks"] == [0, 1, 3]
    assert child.report["width_map"] == "cut-raw"
    assert child.directions[3].tolist() == [0.0, 0.0, 0.0, 1.0, 0.0]  # row 2 of the vector is block 3


def test_chosen_layers_only() -> None:
    child = fit(blocks=9, width=4, layers=[3, 0])
    assert child.sources == {0: 0, 3: 3}
    assert sorted(child.directions) == [0, 3]


def test_layers_that_the_parent_has_no_direction_for() -> None:
    with pytest.raises(SteeringError) as caught:
        fit(blocks=9, width=4, layers="1-3")
    assert str(caught.value) == (
        "layers='1-3' names block 2, but the vector has directions for the parent's blocks 0, 1, 3 only "
        "and the layer map is greedy (block l to block l)"
    )


def test_layers_that_the_child_lacks() -> None:
    with pytest.raises(SteeringError, match=r"layers=3 names block 3, but the model has blocks 0 to 2"):
        fit(blocks=3, width=4, layers=3)


def test_a_child_without_any_of_the_blocks() -> None:
    parent = {"name": "p", "hidden_size": 4, "num_blocks": 9}
    deep = SteeringVector(np.eye(4, dtype=np.float32)[:2], (7, 8), {"parent": parent})
    with pytest.raises(SteeringError) as caught:
        into_child(deep, 6, 4, layers="all", layer_map="greedy", width_map="cut")
    assert str(caught.value) == (
        "the vector has directions for the parent's blocks 7-8 only and the layer map is greedy (block l to block l), "
        "which gives a child of 6 blocks none"
    )


def test_one_block_with_nothing_left_refuses_the_vector() -> None:
    with pytest.raises(SteeringError, match="nothing is left to add"):
        fit(blocks=5, width=3)


@pytest.mark.parametrize(
    ("layers", "words"), [([4], "4"), ([0, 1, 2], "0-2"), ([7, 8], "7-8"), ((1, 4, 5), "1, 4, 5"), ([], "")]
)
def test_span(layers: Any, words: str) -> None:
    assert span(layers) == words
