"""Controls: how they are named, and that each keeps the norms and changes exactly what it says."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.controls import KINDS, Control, Kind, kind_of, read_control, read_controls
from lm_eval_steer.interventions.controls.shuffled import derangement
from lm_eval_steer.interventions.plan import SteeringPlan


def refusal(function: Any, *arguments: Any) -> str:
    with pytest.raises(SteeringError) as caught:
        function(*arguments)
    return str(caught.value)


def names(value: Any) -> list[str]:
    return [control.name for control in read_controls(value)]


def norm(direction: np.ndarray) -> float:
    """By exact summation, not by the code's own way."""
    return math.sqrt(math.fsum(float(x) ** 2 for x in direction))


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    return float(one.astype(np.float64) @ other) / (norm(one) * norm(other))


def some_directions(blocks: Iterable[int], width: int) -> dict[int, np.ndarray]:
    """Directions of different lengths, block l's of length l + 1."""
    found = {}
    for block in blocks:
        drawn = np.random.default_rng(1000 + block).normal(size=width)
        found[block] = (drawn / np.linalg.norm(drawn) * (block + 1)).astype(np.float32)
    return found


# Names


@pytest.mark.parametrize(
    ("value", "control"),
    [
        (None, None),
        ("none", None),
        (" none ", None),
        ("random", Control("random", 1)),
        ("random:1", Control("random", 1)),
        ("random:3", Control("random", 3)),
        (" random:03 ", Control("random", 3)),
        ("random:999999999", Control("random", 999_999_999)),
        ("map-shuffled", Control("map-shuffled", 1)),
        ("map-shuffled:2", Control("map-shuffled", 2)),
        ("shuffled", Control("shuffled", None)),
        ("negated", Control("negated", None)),
        ("identity", Control("identity", None)),
        ("self-consistency", Control("self-consistency", None)),
    ],
)
def test_read_control(value: Any, control: Control | None) -> None:
    assert read_control(value) == control


@pytest.mark.parametrize(
    "value",
    [
        *("", "all", "Random", "random:", "random:x", "random:-1", "random:1.5", "random:1:2", "random:١", "random: 3"),
        *("random:" + "9" * 5000, "negated:2", "shuffled:1", "self_consistency", "random,negated"),
        *(3, True, False, ["random"], 1.5, {}),
    ],
)
def test_read_control_lists_what_there_is(value: Any) -> None:
    assert refusal(read_control, value) == (
        f"control={value!r} is not understood: use none, random:3 (the random vector of seed 3) or one of "
        "shuffled, negated, identity, self-consistency"
    )


@pytest.mark.parametrize("seed", [0, 1_000_000_000])
def test_read_control_seed_range(seed: int) -> None:
    assert refusal(read_control, f"random:{seed}") == (
        f"control='random:{seed}' has the seed {seed}: use a seed from 1 to 999999999, as in random:3"
    )


FIVE = ["random:1", "random:2", "random:3", "random:4", "random:5"]
REST = ["shuffled", "negated", "identity", "self-consistency"]


@pytest.mark.parametrize(
    ("value", "arms"),
    [
        (None, []),
        ("none", []),
        ("all", [*FIVE, *REST]),
        (" all ", [*FIVE, *REST]),
        ("random", FIVE),
        ("random:2,negated,self-consistency", ["random:1", "random:2", "negated", "self-consistency"]),
        ("negated, random:1", ["negated", "random:1"]),
        ("map-shuffled:2", ["map-shuffled:1", "map-shuffled:2"]),
        (["negated", "random:1"], ["negated", "random:1"]),
        (("identity",), ["identity"]),
    ],
)
def test_read_controls(value: Any, arms: list[str]) -> None:
    assert names(value) == arms


@pytest.mark.parametrize("value", ["all", "random:12", "negated,random:2"])
def test_an_arm_is_what_its_name_runs_alone(value: str) -> None:
    for control in read_controls(value):
        assert read_control(control.name) == control


FORMS = "use all, none, or a list of random:5, map-shuffled:5, shuffled, negated, identity, self-consistency"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        *[(value, f"controls={value!r} is not understood: {FORMS}") for value in (3, True, 1.5, {"random": 2})],
        *[(value, f"controls={value!r} is not understood: {FORMS}") for value in ("some", "negated:2", "random:x")],
        ("negated,", f"'' in controls='negated,' is not understood: {FORMS}"),
        ("negated,all", f"'all' in controls='negated,all' is not understood: {FORMS}"),
        (["none"], f"'none' in controls=['none'] is not understood: {FORMS}"),
        (["negated", 2], f"2 in controls=['negated', 2] is not understood: {FORMS}"),
        ("", f"controls='' holds no control: {FORMS}"),
        ([], f"controls=[] holds no control: {FORMS}"),
        ("negated,negated", "controls='negated,negated' holds negated twice: give every kind of control once"),
        ("random,random:3", "controls='random,random:3' holds random twice: give every kind of control once"),
        ("random:0", "controls='random:0' asks for 0 random vectors: use 1 to 1000, as in random:5"),
        ("random:1001", "controls='random:1001' asks for 1001 random vectors: use 1 to 1000, as in random:5"),
    ],
)
def test_read_controls_refuses(value: Any, words: str) -> None:
    assert refusal(read_controls, value) == words


@pytest.mark.parametrize(
    ("kind", "seed", "words"),
    [
        ("noise", None, "there is no control 'noise': use one of random, map-shuffled, "),
        ("negated", 1, "the control negated has the seed 1, but only random, map-shuffled take one"),
        *[("random", seed, f"the control random has the seed {seed!r}: use a whole") for seed in (None, 0, True, 1.0)],
    ],
)
def test_a_control_is_checked(kind: str, seed: Any, words: str) -> None:
    assert refusal(Control, kind, seed).startswith(words)


def test_which_controls_are_of_each_vector() -> None:
    every = read_controls("random:1,map-shuffled:1,shuffled,negated,identity,self-consistency")
    assert [control.name for control in every if control.is_of_each] == ["map-shuffled:1", "shuffled", "negated"]


def test_a_control_that_lies_in_a_file_is_no_change_of_a_vector() -> None:
    control = Control("map-shuffled", 2)
    assert control.file_beside("/a.b/own.v2.safetensors") == "/a.b/own.v2.map-shuffled-2.safetensors"
    sentence = (
        "control=map-shuffled:2 is a vector file of its own, no change of another vector: name it, as in "
        "vectors=NAME.map-shuffled-2.safetensors"
    )
    assert refusal(control.apply, some_directions([0], 4)) == sentence
    assert refusal(lambda: SteeringPlan.build(control="map-shuffled:2", alpha=0)) == sentence


def test_which_controls_steer() -> None:
    assert [control.name for control in read_controls("all") if not control.steers] == ["identity", "self-consistency"]
    assert Control("self-consistency").temperature == 0.7


@pytest.mark.parametrize(
    ("name", "steers", "draws", "plain"),
    [
        *[(name, True, False, False) for name in ("", None, "random:3", "map-shuffled:1", "of a missing package")],
        ("identity", False, False, True),
        ("self-consistency", False, True, False),
    ],
)
def test_kinds_by_the_names_of_result_files(name: str | None, steers: bool, draws: bool, plain: bool) -> None:
    kind = kind_of(name)
    assert (kind.steers, kind.draws, kind.is_plain) == (steers, draws, plain)


def test_kinds_that_are_added_are_named_as_ours_are() -> None:
    """`turned:N` rolls the components of every direction by N; `mirrored` turns their order round."""
    KINDS.add("mirrored", Kind(lambda directions, seed: {block: v[::-1] for block, v in directions.items()}))
    KINDS.add("turned", Kind(lambda found, seed: {b: np.roll(v, seed or 0) for b, v in found.items()}, seeded=True))
    try:
        directions = {2: np.array([1, 2, 3], np.float32)}
        assert Control("mirrored").apply(directions)[2].tolist() == [3, 2, 1]
        assert names("turned:2,mirrored") == ["turned:1", "turned:2", "mirrored"]
        assert [one.apply(directions)[2].tolist() for one in read_controls("turned:2")] == [[3, 1, 2], [2, 3, 1]]
        assert read_control("turned:7") == Control("turned", 7)
        assert refusal(read_control, "turned:0").endswith("use a seed from 1 to 999999999, as in turned:3")
        assert "random:3 (the random vector of seed 3), turned:3 (the turned vector" in refusal(read_control, "all")
        assert refusal(Control, "mirrored", 2).endswith("but only random, map-shuffled, turned take one")
    finally:
        KINDS.remove("mirrored")
        KINDS.remove("turned")


# Random


@pytest.mark.parametrize("width", [1, 2, 7, 576, 4096])
def test_random_has_the_exact_norms(width: int) -> None:
    directions = some_directions([0, 3, 4, 29], width)
    before = {block: direction.copy() for block, direction in directions.items()}
    for seed in (1, 2, 3):
        drawn = Control("random", seed).apply(directions)
        assert list(drawn) == [0, 3, 4, 29]
        for block, direction in drawn.items():
            assert direction.dtype == np.float32
            assert direction.shape == (width,)
            assert norm(direction) == pytest.approx(norm(directions[block]), rel=1e-7)
            assert norm(direction) == pytest.approx(block + 1, rel=1e-6)
    assert all(np.array_equal(directions[block], before[block]) for block in before)


@given(st.lists(st.floats(-1e10, 1e10, width=32), min_size=1, max_size=40), st.integers(1, 999_999_999))
def test_random_has_the_exact_norm_of_any_direction(values: list[float], seed: int) -> None:
    direction = np.array(values, dtype=np.float32)
    if 0 < norm(direction) < 1e-20:  # so small that float32 itself has fewer digits
        return
    drawn = Control("random", seed).apply({5: direction})[5]
    assert norm(drawn) == pytest.approx(norm(direction), rel=1e-6, abs=0)


def test_a_zero_direction_stays_zero() -> None:
    drawn = Control("random", 1).apply({0: np.zeros(8, np.float32), 1: np.ones(8, np.float32)})
    assert not drawn[0].any()
    assert drawn[1].all()


@given(st.sets(st.integers(0, 11), min_size=1), st.integers(1, 50), st.randoms())
def test_random_does_not_depend_on_the_other_blocks(blocks: set[int], seed: int, shuffler: Any) -> None:
    full = Control("random", seed).apply(some_directions(range(12), 16))
    order = sorted(blocks)
    shuffler.shuffle(order)
    part = Control("random", seed).apply(some_directions(order, 16))
    assert list(part) == order
    assert all(np.array_equal(part[block], full[block]) for block in blocks)


def test_random_depends_on_length_and_width_only() -> None:
    """Another vector of the same norms has the same random controls."""
    one, other = np.zeros(4, np.float32), np.zeros(4, np.float32)
    one[0], other[3] = 2, -2
    control = Control("random", 7)
    assert np.array_equal(control.apply({2: one})[2], control.apply({2: other})[2])


def test_random_directions_are_orthogonal_in_high_width() -> None:
    """Cosines have standard deviation 1 / sqrt(4096) = 0.016: with each other, across seeds and with the vector."""
    directions = some_directions(range(12), 4096)
    arms = [control.apply(directions) for control in read_controls("random:3")]
    everything = [*directions.values(), *(direction for arm in arms for direction in arm.values())]
    cosines = [cosine(one, other) for i, one in enumerate(everything) for other in everything[:i]]
    assert len(cosines) == 48 * 47 // 2
    assert max(map(abs, cosines)) < 0.08
    assert np.std(cosines) == pytest.approx(1 / 64, rel=0.1)


def test_random_is_uniform_on_the_sphere() -> None:
    """Over 4000 blocks of width 3: mean 0, second moments I / 3, and Archimedes: each coordinate is uniform."""
    unit = np.array([1, 0, 0], np.float32)
    drawn = np.stack(list(Control("random", 1).apply(dict.fromkeys(range(4000), unit)).values()))
    assert np.abs(drawn.mean(axis=0)).max() < 0.04
    assert np.abs(drawn.T @ drawn / 4000 - np.eye(3) / 3).max() < 0.03
    for coordinate in drawn.T:
        assert np.abs(np.histogram(coordinate, bins=8, range=(-1, 1))[0] / 4000 - 1 / 8).max() < 0.03


def test_random_draws_are_pinned() -> None:
    """numpy does not promise its streams for ever: a change would be another control under the same name."""
    unit = np.array([0, 1, 0, 0], np.float32)
    drawn = Control("random", 1).apply({0: unit, 7: unit})
    assert np.allclose(drawn[0], RANDOM_1[0], atol=1e-6)
    assert np.allclose(drawn[7], RANDOM_1[7], atol=1e-6)


# Shuffled


@pytest.mark.parametrize("n", [*range(2, 20), 30, 64, 200])
def test_derangement(n: int) -> None:
    for seed in range(10):
        order = derangement(n, seed)
        assert sorted(order) == list(range(n))
        assert all(index != place for place, index in enumerate(order))
        assert order == derangement(n, seed)


def test_every_derangement_is_drawn() -> None:
    """Of 4 things there are 9, six of them cycles."""
    assert len({tuple(derangement(4, seed)) for seed in range(200)}) == 9


def test_shuffled_by_hand() -> None:
    """Two blocks can only swap: lengths 5 and 2 stay in place, 3-4-5 becomes 1.2-1.6-2."""
    directions = {4: np.array([3, 4], np.float32), 9: np.array([0, -2], np.float32)}
    shuffled = Control("shuffled").apply(directions)
    assert np.allclose(shuffled[4], [0, -5])
    assert np.allclose(shuffled[9], [1.2, 1.6])
    assert shuffled[9].dtype == np.float32
    assert directions[4].tolist() == [3, 4]


@pytest.mark.parametrize("n", [2, 3, 5, 12, 30])
def test_shuffled_permutes_directions_and_keeps_norms(n: int) -> None:
    blocks = [3 * i + 1 for i in range(n)]
    directions = some_directions(blocks, 64)
    shuffled = Control("shuffled").apply(directions)
    assert list(shuffled) == blocks
    sources = []
    for block, direction in shuffled.items():
        assert norm(direction) == pytest.approx(norm(directions[block]), rel=1e-6)
        source = max(blocks, key=lambda other: cosine(direction, directions[other]))
        assert cosine(direction, directions[source]) == pytest.approx(1, abs=1e-6)
        assert source != block
        sources.append(source)
    assert sorted(sources) == blocks


def test_shuffled_is_fixed() -> None:
    directions = some_directions(range(6), 8)
    once = Control("shuffled").apply(directions)
    again = Control("shuffled").apply(dict(reversed(directions.items())))
    assert all(np.array_equal(once[block], again[block]) for block in directions)
    sources = [max(range(6), key=lambda other: cosine(once[block], directions[other])) for block in range(6)]
    assert sources == SHUFFLED_6


def test_shuffled_leaves_zero_directions_out() -> None:
    directions = {**some_directions([0, 1, 2], 4), 3: np.zeros(4, np.float32)}
    shuffled = Control("shuffled").apply(directions)
    assert [round(norm(direction), 5) for direction in shuffled.values()] == [1, 2, 3, 0]


@pytest.mark.parametrize(
    ("directions", "number"),
    [({}, 0), ({3: np.ones(2, np.float32)}, 1), ({3: np.ones(2, np.float32), 4: np.zeros(2, np.float32)}, 1)],
)
def test_shuffled_needs_two_blocks(directions: dict[int, np.ndarray], number: int) -> None:
    assert refusal(Control("shuffled").apply, directions) == (
        "control=shuffled permutes directions among blocks, but the number of blocks that are steered is "
        f"{number}: steer 2 or more (layers=all), or use another control"
    )


# The others


def test_negated() -> None:
    negated = Control("negated").apply({2: np.array([0.5, -1.5], np.float32)})
    assert negated[2].tolist() == [-0.5, 1.5]
    assert negated[2].dtype == np.float32


@pytest.mark.parametrize("kind", ["identity", "self-consistency"])
def test_unsteered_controls_change_nothing(kind: str) -> None:
    directions = some_directions([1, 4], 8)
    same = Control(kind).apply(directions)
    assert list(same) == [1, 4]
    assert all(np.array_equal(same[block], directions[block]) for block in directions)


# What numpy 2.4 draws.
RANDOM_1 = {
    0: [-0.4617665, 0.2832485, -0.2835223, 0.7913008],
    7: [-0.8471847, 0.0131239, -0.3105671, 0.4308757],
}
SHUFFLED_6 = [2, 3, 5, 4, 0, 1]
