"""alpha_per_layer: every form with multipliers worked out by hand, and one sentence per way to be wrong."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.profiles import check_profile, read_profile

FORMS = "use [0.5,1,0.5] with one number per block, linear:0:1 or peak:14:4"
FINITE = "is not a finite number: use multipliers such as 0.5"


def refusal(function: Any, *arguments: Any) -> str:
    with pytest.raises(SteeringError) as caught:
        function(*arguments)
    return str(caught.value)


@pytest.mark.parametrize(
    ("value", "profile"),
    [
        ([0.5, 1, -2.0], (0.5, 1.0, -2.0)),
        ((0, 0, 1), (0.0, 0.0, 1.0)),
        ("[0.5, 1,-2e-1]", (0.5, 1.0, -0.2)),
        (" [1,1,1] ", (1.0, 1.0, 1.0)),
        (["0.5", 1, "1"], (0.5, 1.0, 1.0)),
        ([-0.0, 1, 1], (0.0, 1.0, 1.0)),
        ("linear:0:1", (0.0, 0.5, 1.0)),
        ("linear:1:0", (1.0, 0.5, 0.0)),
        ("linear:-1:3", (-1.0, 1.0, 3.0)),
        (" linear: 2 : 2 ", (2.0, 2.0, 2.0)),
        ("linear:1e308:-1e308", (1e308, 0.0, -1e308)),
    ],
)
def test_three_blocks(value: Any, profile: tuple[float, ...]) -> None:
    check_profile(value)
    found = read_profile(value, 3)
    assert found == profile
    assert all(
        type(multiplier) is float and math.copysign(1, multiplier) == 1 for multiplier in found if not multiplier
    )


def test_linear_says_what_its_decimals_say() -> None:
    assert read_profile("linear:0:1", 11) == (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
    assert read_profile("linear:0.1:0.7", 7) == (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)


def test_linear_in_a_model_of_one_block() -> None:
    assert read_profile("linear:0.25:1", 1) == (0.25,)


@given(st.floats(-1e300, 1e300), st.floats(-1e300, 1e300), st.integers(2, 60))
def test_linear_meets_both_ends(first: float, last: float, blocks: int) -> None:
    if not (first or last):
        return
    profile = read_profile(f"linear:{first!r}:{last!r}", blocks)
    assert len(profile) == blocks
    assert (profile[0], profile[-1]) == (first, last)
    assert list(profile) == sorted(profile, reverse=first > last)


def test_peak_by_hand() -> None:
    """exp(-1/2) one width from the center, exp(-2) at two; a distance of 3/2 widths gives exp(-9/8)."""
    assert read_profile("peak:2:1", 5) == pytest.approx([0.135335283, 0.606530660, 1, 0.606530660, 0.135335283])
    assert read_profile("peak:0:2", 4) == pytest.approx([1, 0.882496903, 0.606530660, 0.324652467])
    assert read_profile("peak:1.5:0.5", 4) == pytest.approx([0.011108997, 0.606530660, 0.606530660, 0.011108997])
    assert read_profile("peak:-1:1", 2) == pytest.approx([0.606530660, 0.135335283])


@given(st.integers(0, 29), st.floats(1e-3, 1e3))
def test_peak_is_highest_at_its_center_and_symmetric(center: int, width: float) -> None:
    profile = read_profile(f"peak:{center}:{width!r}", 30)
    assert profile[center] == 1
    assert all(0 <= multiplier <= 1 for multiplier in profile)
    for distance in range(1, min(center, 29 - center) + 1):
        assert profile[center - distance] == profile[center + distance] <= profile[center + distance - 1]


def test_a_narrow_peak_is_one_block() -> None:
    assert read_profile("peak:1:1e-3", 3) == (0.0, 1.0, 0.0)
    assert read_profile("peak:1:1e-300", 3) == (0.0, 1.0, 0.0)
    assert read_profile("peak:1:5e-324", 3) == (0.0, 1.0, 0.0)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        *[
            (value, f"alpha_per_layer={value!r} is not understood: {FORMS}")
            for value in (None, 1, 0.5, True, "", " ", "1", "0.5,1", "Linear:0:1", "cubic:0:1", ":", {0: 1}, {1.0})
        ],
        ([], f"alpha_per_layer=[] holds no number: {FORMS}"),
        ("[ ]", f"alpha_per_layer='[ ]' holds no number: {FORMS}"),
        ("[0.5", "alpha_per_layer='[0.5' was cut at a comma: model_args given as one string to simple_evaluate cannot"),
        ([1, True], f"True in alpha_per_layer=[1, True] is not a number: {FORMS}"),
        ([1, None], f"None in alpha_per_layer=[1, None] is not a number: {FORMS}"),
        ([[1], 2], f"[1] in alpha_per_layer=[[1], 2] is not a number: {FORMS}"),
        ("[1,]", f"'' in alpha_per_layer='[1,]' is not a number: {FORMS}"),
        ("[1,a]", f"'a' in alpha_per_layer='[1,a]' is not a number: {FORMS}"),
        ("linear:a:1", f"'a' in alpha_per_layer='linear:a:1' is not a number: {FORMS}"),
        ("peak::1", f"'' in alpha_per_layer='peak::1' is not a number: {FORMS}"),
        ([1, math.nan], f"nan in alpha_per_layer=[1, nan] {FINITE}"),
        ([-math.inf], f"-inf in alpha_per_layer=[-inf] {FINITE}"),
        ("[1,inf]", f"'inf' in alpha_per_layer='[1,inf]' {FINITE}"),
        ("linear:0:nan", f"'nan' in alpha_per_layer='linear:0:nan' {FINITE}"),
        ("peak:3:1e999", f"'1e999' in alpha_per_layer='peak:3:1e999' {FINITE}"),
        ([10**400], f"{10**400} in alpha_per_layer=[{10**400}] {FINITE}"),
        ("linear", "alpha_per_layer='linear' has 0 parts after linear: give 2, the first and the last block's mult"),
        ("linear:1", "alpha_per_layer='linear:1' has 1 part after linear: give 2, "),
        ("linear:1:2:3", "alpha_per_layer='linear:1:2:3' has 3 parts after linear: give 2, "),
        (
            "peak:3",
            "alpha_per_layer='peak:3' has 1 part after peak: give 2, center and width, in blocks, as in peak:14",
        ),
        ("peak:3:0", "alpha_per_layer='peak:3:0' has the width 0: use a width above 0, in blocks, as in peak:14:4"),
        ("peak:3:-0.5", "alpha_per_layer='peak:3:-0.5' has the width -0.5: use a width above 0"),
        ([0, -0.0], "alpha_per_layer=[0, -0.0] is zero in every block: use a profile that is not, or alpha=0 for no"),
        ("[0]", "alpha_per_layer='[0]' is zero in every block"),
        ("linear:0:-0", "alpha_per_layer='linear:0:-0' is zero in every block"),
    ],
)
def test_refused_with_and_without_a_model(value: Any, words: str) -> None:
    assert refusal(check_profile, value).startswith(words)
    assert refusal(read_profile, value, 3) == refusal(check_profile, value)


@pytest.mark.parametrize(
    ("value", "blocks", "words"),
    [
        ([1, 2], 30, "alpha_per_layer has 2 numbers, but the model has 30 blocks: give one number per block, or a"),
        ("[1]", 3, "alpha_per_layer has 1 number, but the model has 3 blocks: "),
        ([1, 2], 1, "alpha_per_layer has 2 numbers, but the model has 1 block: "),
        ("linear:0:1", 1, "alpha_per_layer='linear:0:1' is zero in all of the model's 1 blocks"),
        ("peak:100:1", 30, "alpha_per_layer='peak:100:1' is zero in all of the model's 30 blocks: use a profile that"),
        ("peak:0.5:1e-3", 30, "alpha_per_layer='peak:0.5:1e-3' is zero in all of the model's 30 blocks"),
    ],
)
def test_refused_for_this_model_only(value: Any, blocks: int, words: str) -> None:
    check_profile(value)
    assert refusal(read_profile, value, blocks).startswith(words)


@given(st.text(alphabet="linearpk:[]0123456789.,-e ", max_size=20), st.integers(1, 5))
def test_any_text_is_read_or_answered_in_a_sentence(text: str, blocks: int) -> None:
    try:
        profile = read_profile(text, blocks)
    except SteeringError:
        return
    assert len(profile) == blocks
    assert any(profile)
    assert all(map(math.isfinite, profile))
