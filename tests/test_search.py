"""The search for a strength per block, against objectives whose best profile is known."""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Callable, Sequence
from itertools import pairwise
from logging.handlers import BufferingHandler
from typing import Any

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.profiles import read_profile
from lm_eval_steer.sweep.profile_search import (
    BATCH,
    LAST_SEED,
    METHODS,
    MOST_GROUPS,
    Search,
    check_search,
    search_profile,
)

Profile = tuple[float, ...]
both = pytest.mark.parametrize("method", METHODS)


class Judge:
    """An `evaluate` that keeps its batches."""

    def __init__(self, score: Callable[[Profile], float]) -> None:
        self.score = score
        self.batches: list[list[Profile]] = []

    def __call__(self, profiles: list[Profile]) -> list[float]:
        self.batches.append(list(profiles))
        return [self.score(profile) for profile in profiles]


def near(target: Sequence[float]) -> Callable[[Profile], float]:
    """Separable, 0 at its best: minus the squared distance from `target`."""
    return lambda profile: -sum((m - t) ** 2 for m, t in zip(profile, target, strict=True))


def search(score: Callable[[Profile], float], blocks: int, method: str, budget: int, **others: Any) -> Search:
    """A search with the promises checked that hold for every objective."""
    judge = Judge(score)
    steered = others.pop("steered", range(blocks))
    found = search_profile(judge, blocks, steered, method, budget, others.pop("seed", 3), **others)
    asked = [profile for batch in judge.batches for profile in batch]
    uniform = (1.0,) * blocks
    assert asked[0] == uniform
    assert len(asked) == len(set(asked)) <= budget
    assert all(judge.batches)
    assert max(map(len, judge.batches)) <= BATCH
    assert [profile for profile, _ in found.history] == asked
    scores = dict(found.history)
    assert str(found.start_score) == str(scores[uniform]) == str(float(score(uniform)))
    assert str(found.score) == str(scores[found.best])
    winners = [profile for profile in asked if str(scores[profile]) == str(found.score)]
    # min keeps the first of equals
    assert found.best == min(winners, key=lambda p: (sum(m != 1 for m in p), math.fsum(abs(m - 1) for m in p)))
    for profile in asked:
        assert len(profile) == blocks
        assert all(type(multiplier) is float and multiplier >= 0 for multiplier in profile)
        assert all(profile[block] == 1 for block in range(blocks) if block not in steered)
        assert any(profile[block] for block in steered)
        assert read_profile(profile, blocks) == profile
        sign = 1 if others.get("higher_is_better", True) else -1
        assert math.isnan(scores[profile]) or sign * scores[profile] <= sign * found.score
    return found


def test_coordinate_finds_the_best_of_a_separable_objective() -> None:
    """One round of 4 blocks is 1 + 12 profiles; 4 lies two rounds away, and a third finds nothing."""
    target = (0, 0.5, 4, 1)
    found = search(near(target), 4, "coordinate", 30)
    assert (found.best, found.score, found.start_score) == (target, 0, near(target)((1, 1, 1, 1)))


def test_optuna_finds_the_best_of_a_separable_objective() -> None:
    target = (0.25, 1.75, 0.5)
    found = search(near(target), 3, "optuna", 80)
    assert found.score > -0.05
    assert near(target)((1, 1, 1)) < -1.3


def test_coordinate_by_hand() -> None:
    """Score: 1 for the first block at 0.5, 1 more for the second at 2, 1 more for the first back from 0.5 to 1."""
    points = {(0.5, 1): 1, (0.5, 2): 2, (1, 2): 3}
    judge = Judge(lambda profile: points.get(profile, 0))
    found = search_profile(judge, 2, [0, 1], "coordinate", 20, 0)
    assert judge.batches == [
        [(1, 1), (0, 1), (0.5, 1), (2, 1)],
        [(0.5, 0), (0.5, 0.5), (0.5, 2)],
        [(0, 2), (0.25, 2), (1, 2)],
        [(1, 0), (1, 4)],  # (1, 1) is known
        [(2, 2)],  # the last round: (0, 2) and (0.5, 2) are known
    ]
    assert found.best == (1, 2)


def test_coordinate_takes_a_block_back_from_zero() -> None:
    points = {(0, 1): 1, (0, 2): 2, (1, 2): 3}
    assert search(lambda profile: points.get(profile, 0), 2, "coordinate", 20).best == (1, 2)


def test_coordinate_stops_where_a_round_gains_nothing() -> None:
    assert len(search(lambda profile: sum(profile) == 4, 4, "coordinate", 1000).history) == 13


@both
def test_many_blocks_and_a_small_budget(method: str) -> None:
    """`coordinate`: (20 - 1) // 3 groups of 5. Both find that the last third hurts."""
    found = search(lambda profile: -sum(profile[20:]), 30, method, 20)
    assert found.score > found.start_score
    assert len(found.history) == 20
    size = {"coordinate": 5, "optuna": 3}[method]  # 30 blocks in 8 groups: of 3 or 4
    for profile, _ in found.history:
        changes = [i for i in range(1, 30) if profile[i] != profile[i - 1]]
        assert len(changes) < {"coordinate": 6, "optuna": MOST_GROUPS}[method]
        assert all(later - sooner >= size for sooner, later in pairwise(changes))
    if method == "coordinate":
        assert found.best == (1.0,) * 20 + (0.0,) * 10


@both
def test_unsteered_blocks_stay(method: str) -> None:
    found = search(near((9, 0, 9, 9, 2, 9)), 6, method, 25, steered=[4, 1])
    assert found.best[1] < 1 < found.best[4]


@both
@pytest.mark.parametrize("budget", [1, 2, 3, 4, 5, 7, 20])
@pytest.mark.parametrize("blocks", [1, 2, 30])
def test_any_budget(method: str, budget: int, blocks: int) -> None:
    found = search(near((0.5,) * blocks), blocks, method, budget)
    if method == "optuna" and (blocks, budget) != (1, 20):
        assert len(found.history) == budget
    else:  # may end before: a round that gains nothing, no new profile
        assert len(found.history) >= min(budget, 3)


def test_the_smallest_budgets_of_coordinate() -> None:
    """One group: 0 everywhere is no steering, so it has two candidates."""
    assert [profile for profile, _ in search(near((2, 2)), 2, "coordinate", 1).history] == [(1, 1)]
    assert [profile for profile, _ in search(near((2, 2)), 2, "coordinate", 2).history] == [(1, 1), (0.5, 0.5)]
    assert search(near((2, 2)), 2, "coordinate", 3).best == (2, 2)


def test_optuna_ends_where_every_profile_is_known() -> None:
    """One block has 16 profiles: 1/8, 2/8, ... 2."""
    found = search(near((0.125,)), 1, "optuna", 1000)
    assert found.best == (0.125,)
    assert {profile[0] * 8 for profile, _ in found.history} <= set(range(1, 17))


def test_optuna_asks_in_batches() -> None:
    judge = Judge(near((1, 2)))
    search_profile(judge, 2, [0, 1], "optuna", 20, 0)
    assert list(map(len, judge.batches)) == [8, 8, 4]


@both
def test_equal_scores_keep_the_start(method: str) -> None:
    found = search(lambda profile: 0.5, 3, method, 12)
    assert found.best == (1, 1, 1)


def test_ties_go_to_the_fewest_changes_then_the_smallest_then_the_first() -> None:
    """A profile that the search passed on its way wins once its score is equalled."""
    assert search(lambda profile: profile != (1, 1), 2, "coordinate", 30).best == (0.5, 1)
    assert search(lambda profile: profile[0] in (0, 2), 2, "coordinate", 30).best == (0, 1)
    two_steps = {(2, 1): 1, (2, 0): 2, (1, 0): 2}
    assert search(lambda profile: two_steps.get(profile, 0), 2, "coordinate", 30).best == (1, 0)


@both
def test_a_harmful_search_returns_the_start(method: str) -> None:
    found = search(near((1, 1, 1, 1)), 4, method, 30)
    assert (found.best, found.score) == ((1, 1, 1, 1), 0)


@both
def test_lower_is_better(method: str) -> None:
    target = (0, 1, 2)
    lower = search(lambda profile: -near(target)(profile), 3, method, 40, higher_is_better=False)
    higher = search(near(target), 3, method, 40)
    assert lower.best == higher.best != (1, 1, 1)
    assert lower.score == -higher.score


@both
@pytest.mark.parametrize("higher_is_better", [True, False])
def test_nan_loses(method: str, higher_is_better: bool) -> None:
    found = search(lambda p: p[0] if p[0] > 1 else math.nan, 2, method, 20, higher_is_better=higher_is_better)
    assert found.best[0] > 1
    assert math.isnan(found.start_score)
    worst = -math.inf if higher_is_better else math.inf
    found = search(lambda p: worst if p == (1, 1) else math.nan, 2, method, 20, higher_is_better=higher_is_better)
    assert (found.best, found.score) == ((1, 1), worst)
    found = search(lambda p: math.nan if p == (1, 1) else worst, 2, method, 20, higher_is_better=higher_is_better)
    assert (found.best != (1, 1), found.score) == (True, worst)


@both
def test_every_score_nan(method: str) -> None:
    found = search(lambda profile: math.nan, 3, method, 12)
    assert found.best == (1, 1, 1)
    assert math.isnan(found.score)


@both
def test_a_search_is_repeated_from_its_history(method: str) -> None:
    """And another seed is another search, where there is anything to draw."""
    found = search(near((0, 0.5, 2)), 3, method, 25)
    recorded = dict(found.history)
    assert search(recorded.__getitem__, 3, method, 25) == found
    other = search(near((0, 0.5, 2)), 3, method, 25, seed=4)
    assert (other == found) == (method == "coordinate")


@settings(max_examples=60)
@given(
    st.sampled_from(METHODS),
    st.lists(st.booleans(), min_size=1, max_size=12).filter(any),
    st.integers(1, 30),
    st.integers(0, LAST_SEED),
    st.booleans(),
    st.sampled_from([(0.0, 1.0), (0.0, math.nan, math.inf, -math.inf), (-1.0, 0.0, 0.25, 0.5)]),
)
def test_the_promises_hold_for_any_scores(
    method: str, mask: list[bool], budget: int, seed: int, higher_is_better: bool, values: tuple[float, ...]
) -> None:
    steered = [block for block, is_steered in enumerate(mask) if is_steered]
    search(
        lambda profile: values[hash(profile) % len(values)],
        len(mask),
        method,
        budget,
        steered=steered,
        seed=seed,
        higher_is_better=higher_is_better,
    )


@both
def test_another_number_of_scores(method: str) -> None:
    with pytest.raises(ValueError, match=r"^evaluate returned 1 score for \d profiles: return one per profile, in"):
        search_profile(lambda profiles: [0.5], 3, [0, 1, 2], method, 10, 0)
    with pytest.raises(ValueError, match=r"^evaluate returned 0 scores for 1 profile: return one per profile"):
        search_profile(lambda profiles: [], 3, [0], method, 1, 0)


@pytest.mark.parametrize(
    ("method", "budget", "seed", "words"),
    [
        ("grid", 20, 0, "there is no search 'grid': use one of coordinate, optuna"),
        *[
            ("coordinate", budget, 0, f"the search has the budget {budget!r}: use a whole number of profiles from 1, ")
            for budget in (0, -3, 2.5, True, "20", None)
        ],
        *[
            ("optuna", 20, seed, f"the search has the seed {seed!r}: use a whole number from 0 to 4294967295")
            for seed in (-1, 2**32, 0.5, False, None)
        ],
    ],
)
def test_refused_before_a_model_is_loaded(method: str, budget: Any, seed: Any, words: str) -> None:
    with pytest.raises(SteeringError) as caught:
        check_search(method, budget, seed)
    assert str(caught.value).startswith(words)
    with pytest.raises(SteeringError) as again:
        search_profile(near((1,)), 1, [0], method, budget, seed)
    assert str(again.value) == str(caught.value)


@pytest.mark.parametrize(
    ("blocks", "steered", "words"),
    [
        (3, [], "the search has no steered block: use a vector with a direction for one block or more"),
        (3, [0, 3], "the search steers block 3, but the model has 3 blocks: use blocks from 0 to 2"),
        (1, [-1], "the search steers block -1, but the model has 1 block: use blocks from 0 to 0"),
    ],
)
def test_refused_blocks(blocks: int, steered: list[int], words: str) -> None:
    with pytest.raises(SteeringError) as caught:
        search_profile(near((1,) * blocks), blocks, steered, "coordinate", 5, 0)
    assert str(caught.value) == words


def test_without_optuna(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    check_search("coordinate", 20, 0)
    with pytest.raises(SteeringError) as caught:
        check_search("optuna", 20, 0)
    assert str(caught.value) == (
        "the search optuna needs optuna, which is not installed: "
        'run pip install "lm_eval_steer[optuna]", or use the search coordinate'
    )


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("verbosity", [optuna.logging.INFO, optuna.logging.ERROR])
def test_optuna_is_silent_and_left_as_it_was(verbosity: int) -> None:
    """Its own handler writes to the stderr that it was imported under, so the records are counted instead."""
    inside = max(verbosity, optuna.logging.WARNING)

    def score(profile: Profile) -> float:
        assert optuna.logging.get_verbosity() == inside
        if profile[0] == 2:
            raise RuntimeError
        return math.nan if profile[1] > 1 else profile[0]

    handler = BufferingHandler(1000)
    logger, before = logging.getLogger("optuna"), optuna.logging.get_verbosity()
    logger.addHandler(handler)
    optuna.logging.set_verbosity(verbosity)
    try:
        search_profile(Judge(score), 3, [1, 2], "optuna", 30, 0)
        assert optuna.logging.get_verbosity() == verbosity
        with pytest.raises(RuntimeError):
            search_profile(Judge(score), 3, [0], "optuna", 30, 0)
        assert optuna.logging.get_verbosity() == verbosity
    finally:
        optuna.logging.set_verbosity(before)
        logger.removeHandler(handler)
    assert not handler.buffer
