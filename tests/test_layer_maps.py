"""Layer maps: proportional blocks, lists, and the path along which blocks are most alike, with CKA itself."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from conftest import make_vector
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.layer_maps import (
    debiased_cka,
    greedy,
    most_similar_path,
    proportional,
    read_layer_map,
    similarity,
)
from lm_eval_steer.interventions.plan import SteeringPlan


@pytest.mark.parametrize(
    ("parent", "child", "sources"),
    [
        (
            28,
            30,
            [
                0,
                1,
                2,
                3,
                4,
                5,
                6,
                7,
                7,
                8,
                9,
                10,
                11,
                12,
                13,
                14,
                15,
                16,
                17,
                18,
                19,
                20,
                20,
                21,
                22,
                23,
                24,
                25,
                26,
                27,
            ],
        ),
        (5, 3, [0, 2, 4]),
        (3, 5, [0, 1, 1, 2, 2]),  # a half is rounded up
        (4, 4, [0, 1, 2, 3]),
        (6, 1, [0]),
        (1, 3, [0, 0, 0]),
    ],
)
def test_proportional(parent: int, child: int, sources: list[int]) -> None:
    assert proportional(range(parent), parent, child) == dict(enumerate(sources))


@given(st.integers(1, 90), st.integers(2, 90))
def test_proportional_rounds_to_the_nearest_block(parent: int, child: int) -> None:
    found = proportional(range(parent), parent, child)
    assert list(found) == list(range(child))
    for block, source in found.items():
        assert abs(block * (parent - 1) / (child - 1) - source) <= 0.5 + 1e-12
    assert (found[0], found[child - 1]) == (0, parent - 1)


def test_proportional_leaves_out_blocks_whose_source_has_no_direction() -> None:
    assert proportional((0, 4), 5, 3) == {0: 0, 2: 4}


def test_a_list_has_one_spelling() -> None:
    for text in ("[5:3,0:0]", "5:3,0:0", " [ 05 : 3 , 0:00 ] "):
        chosen = read_layer_map(text)
        assert (chosen.name, chosen.text, chosen.blocks) == ("list", "[0:0,5:3]", {0: 0, 5: 3})
        assert chosen.setting == {"name": "list", "blocks": {"0": 0, "5": 3}}
    assert read_layer_map("proportional").setting == {"name": "proportional"}
    assert (read_layer_map("greedy").text, read_layer_map("greedy").blocks) == ("greedy", None)


NOT_UNDERSTOOD = (
    "is not understood: use one of greedy, proportional, cka, a list of CHILD:PARENT blocks, as in [0:0,5:3], or the "
    "one PARENT block that serves all, as in only:3"
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        *[
            (text, f"layer_map={text!r} {NOT_UNDERSTOOD}")
            for text in (
                "",
                "[]",
                "other",
                "5",
                "5:",
                "0:0,",
                "[0:0",
                "-1:0",
                "1.5:0",
                "0:0;1:1",
                None,
                5,
                [0, 1],
                {0: 0},
            )
        ],
        (
            "[2:1,0:0,2:3]",
            "layer_map='[2:1,0:0,2:3]' gives block 2 of the child the directions of blocks 1 and 3 of the parent: name "
            "each block of the child once",
        ),
    ],
)
def test_a_layer_map_that_is_not_understood(text: Any, words: str) -> None:
    with pytest.raises(SteeringError) as caught:
        read_layer_map(text)
    assert str(caught.value) == words


# In a run


def test_a_run_takes_proportional_blocks_and_lists() -> None:
    vector = make_vector(blocks=5, width=64)
    plan = SteeringPlan.build(vectors=vector, alpha=1, layer_map="proportional")
    child = plan.fit(3, 64)
    assert child is not None
    assert child.sources == {0: 0, 1: 2, 2: 4}
    assert np.array_equal(child.directions[1], vector.directions[2])
    listed = SteeringPlan.build(vectors=vector, alpha=1, layer_map="[2:1,0:4]")
    child = listed.fit(3, 64)
    assert child is not None
    assert (child.sources, child.report["layer_map"]) == ({0: 4, 2: 1}, "[0:4,2:1]")
    assert listed.settings()["layer_map"] == "[0:4,2:1]"
    assert listed.layer_map == SteeringPlan.build(vectors=vector, alpha=1, layer_map="0:4,2:1").layer_map


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[3:1]", "layer_map names block 3 of the child, which has blocks 0 to 2: leave 3:1 out"),
        (
            "[0:0,1:9]",
            "layer_map takes block 1 of the child from block 9 of the parent, but the vector has directions for the "
            "parent's blocks 0-4 only: name one of these",
        ),
    ],
)
def test_a_list_of_blocks_that_are_not_there(text: str, words: str) -> None:
    plan = SteeringPlan.build(vectors=make_vector(blocks=5, width=64), alpha=1, layer_map=text)
    with pytest.raises(SteeringError) as caught:
        plan.fit(3, 64)
    assert str(caught.value) == words


def test_a_run_compares_no_states() -> None:
    with pytest.raises(SteeringError) as caught:
        SteeringPlan.build(vectors=make_vector(), alpha=1, layer_map="cka")
    assert str(caught.value) == (
        "layer_map=cka compares states of parent and child on texts, which a run does not do: write a vector for the "
        "child with `lm-eval-steer transfer VECTOR --layer_map cka ...` and name that file"
    )


# The path


def test_a_path_worked_out_by_hand() -> None:
    alike = np.array([[0.9, 0.1, 0.0], [0.2, 0.3, 0.8], [0.1, 0.7, 0.5]])
    # Blocks 1 and 2 of the child are most like blocks 2 and 1, which would turn back: 0.7 + 0.5 is above 0.3 + 0.8.
    assert most_similar_path(alike) == {0: 0, 1: 2, 2: 2}
    alike[2, 2] = 0.3
    assert most_similar_path(alike) == {0: 0, 1: 1, 2: 1}
    assert most_similar_path(np.ones((4, 3))) == {0: 0, 1: 0, 2: 0}
    assert most_similar_path(np.array([[0.0], [2.0], [2.0]])) == {0: 1}


@settings(max_examples=60, deadline=None)
@given(arrays(np.int64, st.tuples(st.integers(1, 5), st.integers(1, 5)), elements=st.integers(-9, 9)))
def test_no_path_is_better(similarity: np.ndarray) -> None:
    parents, children = similarity.shape
    found = most_similar_path(similarity.astype(float))
    assert list(found) == list(range(children))
    sources = list(found.values())
    assert sources == sorted(sources)
    paths = itertools.combinations_with_replacement(range(parents), children)
    best = max(sum(int(similarity[p, c]) for c, p in enumerate(path)) for path in paths)
    assert sum(int(similarity[p, c]) for c, p in enumerate(sources)) == best


# CKA


def hsic(k: np.ndarray, l: np.ndarray) -> float:  # noqa: E741 - the letters of the formula
    """The unbiased estimator as Song et al. (2012) write it: matrices without their diagonals."""
    n = len(k)
    k, l = k - np.diag(np.diag(k)), l - np.diag(np.diag(l))  # noqa: E741
    one = np.ones(n)
    first = np.trace(k @ l)
    second = (one @ k @ one) * (one @ l @ one) / ((n - 1) * (n - 2))
    third = 2 / (n - 2) * (one @ k @ l @ one)
    return float((first + second - third) / (n * (n - 3)))


def cka(x: np.ndarray, y: np.ndarray) -> float:
    k, l = x.astype(float) @ x.astype(float).T, y.astype(float) @ y.astype(float).T  # noqa: E741
    return float(hsic(k, l) / np.sqrt(hsic(k, k) * hsic(l, l)))


@settings(max_examples=25, deadline=None)
@given(st.integers(4, 40), st.integers(1, 12), st.integers(1, 12), st.integers(0, 10**6))
def test_cka_is_the_gram_form_written_out(n: int, width: int, other: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    xs = [3 + rng.normal(size=(n, width)).astype(np.float32) for _ in range(2)]
    ys = [rng.normal(size=(n, other)).astype(np.float32) - 1 for _ in range(3)]
    ys[0][:, 0] += xs[0][:, 0]
    expected = [[cka(x, y) for y in ys] for x in xs]
    assert np.allclose(debiased_cka(xs, ys), expected, atol=1e-6)


def test_cka_of_four_numbers_worked_out_by_hand() -> None:
    """x = (0, 1, 0, 1) and y = (0, 0, 1, 1) in one dimension, four texts.

    K without its diagonal has one pair of ones, K_24; L has L_34. tr(KL) = 0, 1'K1 = 1'L1 = 2, 1'KL1 = K_24 L_43 = 1,
    so HSIC(K, L) = (0 + 2·2/6 - 2/2·1)/4 = -1/12. HSIC(K, K) = (2 + 4/6 - 2)/4 = 1/6 and so is HSIC(L, L): CKA = -1/2.
    """
    x, y = np.array([[0.0], [1], [0], [1]]), np.array([[0.0], [0], [1], [1]])
    assert hsic(x @ x.T, y @ y.T) == pytest.approx(-1 / 12)
    assert debiased_cka([x], [y, x]) == pytest.approx(np.array([[-0.5, 1.0]]))


def test_cka_does_not_see_rotation_scale_or_mean_and_has_no_bias() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 48))
    turned = 7 * x @ np.linalg.qr(rng.normal(size=(48, 48)))[0] + rng.normal(size=48)
    foreign = [rng.normal(size=(60, 48)) for _ in range(40)]
    found = debiased_cka([x], [turned, *foreign])[0]
    assert found[0] == pytest.approx(1)
    assert abs(found[1:].mean()) < 0.02  # the biased form has about 0.45 here


def test_states_may_come_when_they_are_needed_and_only_so_many_rows_count(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    xs, ys = ([rng.normal(size=(50, 6)) for _ in range(3)] for _ in range(2))
    whole = debiased_cka(xs, ys)
    assert np.array_equal(debiased_cka([lambda x=x: x for x in xs], [lambda y=y: y for y in ys]), whole)
    monkeypatch.setattr(similarity, "MOST_ROWS", 25)
    rows = np.linspace(0, 49, 25).astype(int)
    assert np.array_equal(debiased_cka(xs, ys), debiased_cka([x[rows] for x in xs], [y[rows] for y in ys]))


def test_cka_of_states_that_are_all_alike_is_nothing() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(9, 4))
    alike = np.tile(np.array([1e4, 0.1, -3.3, 7]), (9, 1)).astype(np.float32)
    assert debiased_cka([x, alike], [x, alike]) == pytest.approx(np.array([[1.0, 0], [0, 0]]))


def test_cka_refuses_few_texts_and_what_is_no_number() -> None:
    x = np.random.default_rng(0).normal(size=(3, 4))
    with pytest.raises(
        SteeringError, match=r"^the similarity of blocks needs at least 4 texts and has 3: give more texts$"
    ):
        debiased_cka([x], [x])
    y = np.ones((6, 4))
    z = y.copy()
    z[2, 1] = np.nan
    with pytest.raises(
        SteeringError, match=r"^the parent's states hold NaN or infinity in block 1: load it in a dtype"
    ):
        debiased_cka([y, z], [y])


@pytest.mark.parametrize("blocks", [1, 2, 5, 12])
def test_doubled_blocks_are_found(blocks: int) -> None:
    """The parent is the child in another basis, with a block that adds nothing behind each."""
    rng = np.random.default_rng(blocks)
    states = rng.normal(size=(40, 16))
    ys = []
    for _ in range(blocks):
        states = states + np.tanh(states @ rng.normal(size=(16, 16)) / 4)
        ys.append(states)
    turn = np.linalg.qr(rng.normal(size=(16, 16)))[0]
    xs = [y @ turn for y in ys for _ in range(2)]
    for path in (most_similar_path(debiased_cka(xs, ys)), proportional(range(2 * blocks), 2 * blocks, blocks)):
        assert [source // 2 for source in path.values()] == list(range(blocks))
    assert greedy(range(2 * blocks), 2 * blocks, blocks) == {block: block for block in range(blocks)}
