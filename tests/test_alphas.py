"""Sets of strengths: every form of the argument, its order, and a sentence for every way to be wrong."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.alphas import MOST, PAPER, alpha_name, alpha_order, read_alphas

TENTHS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
HUNDREDTHS = (0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.07, 0.08, 0.09)


def refusal(value: Any, **changes: Any) -> str:
    with pytest.raises(SteeringError) as caught:
        read_alphas(value, **changes)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_papers_set() -> None:
    assert PAPER == HUNDREDTHS + TENTHS  # literals: not one of them off by a rounding step
    assert len(PAPER) == 18
    assert read_alphas("paper") == PAPER


@pytest.mark.parametrize(
    ("value", "alphas"),
    [
        # Numbers
        (0.04, (0.04,)),
        (-3, (-3.0,)),
        (0, (0.0,)),
        (1e-3, (0.001,)),
        (10**30, (1e30,)),
        (np.float64(0.25), (0.25,)),
        ("0.04", (0.04,)),
        (" -.5 ", (-0.5,)),
        ("+2.", (2.0,)),
        ("1e-3", (0.001,)),
        # Lists
        ([0.5], (0.5,)),
        ((0.1, 2), (0.1, 2.0)),
        ([np.float64(0.25), 1], (0.25, 1.0)),
        ("[0.1,0.2]", (0.1, 0.2)),
        (" [ 0.1 , -2 ] ", (0.1, -2.0)),
        ("[0.5]", (0.5,)),
        # Order: by |alpha|, positive before negative, wherever they stood
        ([3, 0.04, 1], (0.04, 1.0, 3.0)),
        ([-1, 0.5, 1, -0.5, 0], (0.0, 0.5, -0.5, 1.0, -1.0)),
        ("[-1,1]", (1.0, -1.0)),
        # Ranges, both ends included
        ("0.01:0.09:0.01", HUNDREDTHS),
        ("0.1:0.9:0.1", TENTHS),
        (" 1 : 3 : 1 ", (1.0, 2.0, 3.0)),
        ("0.5:0.5:0.1", (0.5,)),
        ("-1:1:0.5", (0.0, 0.5, -0.5, 1.0, -1.0)),
        ("-0.3:-0.1:0.1", (-0.1, -0.2, -0.3)),
        ("1e-3:3e-3:1e-3", (0.001, 0.002, 0.003)),
        ("0.1:0.35:0.125", (0.1, 0.225, 0.35)),
        ("-1e308:1e308:1e308", (0.0, 1e308, -1e308)),
    ],
)
def test_read(value: Any, alphas: tuple[float, ...]) -> None:
    found = read_alphas(value)
    assert found == alphas
    assert {type(alpha) for alpha in found} == {float}


@pytest.mark.parametrize("zero", [-0.0, "-0", "-0.0", [-0.0], "[-0]", "-0.0:0:1"])
def test_minus_zero_is_zero(zero: Any) -> None:
    assert [str(alpha) for alpha in read_alphas(zero)] == ["0.0"]


FORMS = "use 0.04, [0.04,0.5], 0.01:0.09:0.01 or paper"
UNKNOWN = f"is not understood: {FORMS}"
IN_LIST = "is not a number: use numbers, as in alpha=[0.04,0.5]"
NOT_FINITE = "is not a finite number: use a strength such as alpha=0.04"
CUT = (
    "was cut at a comma: model_args given as one string to simple_evaluate cannot hold a list; "
    "pass model_args as a dict"
)
ONE_VOTE = "give every strength once, each has one vote"
RANGE = "is not understood: a range is first:last:step, as in 0.01:0.09:0.01"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "alpha is missing: say how long the shift is, as in alpha=0.04, or alpha=0 for none"),
        # No number
        (True, f"alpha=True {UNKNOWN}"),
        (False, f"alpha=False {UNKNOWN}"),
        (1j, f"alpha=1j {UNKNOWN}"),
        ({0.1: 1}, f"alpha={{0.1: 1}} {UNKNOWN}"),
        ({0.1}, f"alpha={{0.1}} {UNKNOWN}"),
        ("", f"alpha='' {UNKNOWN}"),
        ("papers", f"alpha='papers' {UNKNOWN}"),
        ("0,1", f"alpha='0,1' {UNKNOWN}"),
        ("1_0", f"alpha='1_0' {UNKNOWN}"),
        ("nan", f"alpha='nan' {UNKNOWN}"),
        ("٣", f"alpha='٣' {UNKNOWN}"),
        ("(0.1", f"alpha='(0.1' {UNKNOWN}"),
        ("0.1]", f"alpha='0.1]' {UNKNOWN}"),
        # No finite number
        (float("nan"), f"alpha=nan {NOT_FINITE}"),
        (float("inf"), f"alpha=inf {NOT_FINITE}"),
        (float("-inf"), f"alpha=-inf {NOT_FINITE}"),
        (10**309, f"alpha={10**309} {NOT_FINITE}"),
        ("1e400", f"alpha='1e400' {NOT_FINITE}"),
        # Lists
        ([], f"alpha=[] holds no value: {FORMS}"),
        ((), f"alpha=() holds no value: {FORMS}"),
        ("[]", f"alpha='[]' holds no value: {FORMS}"),
        ("[ ]", f"alpha='[ ]' holds no value: {FORMS}"),
        ([0.1, None], f"None in alpha=[0.1, None] {IN_LIST}"),
        ([0.1, True], f"True in alpha=[0.1, True] {IN_LIST}"),
        ([0.1, "0.2"], f"'0.2' in alpha=[0.1, '0.2'] {IN_LIST}"),
        ([[0.1], 0.2], f"[0.1] in alpha=[[0.1], 0.2] {IN_LIST}"),
        ("[[0.1],0.2]", f"'[0.1]' in alpha='[[0.1],0.2]' {IN_LIST}"),
        ("[0.1,]", f"'' in alpha='[0.1,]' {IN_LIST}"),
        ("[paper]", f"'paper' in alpha='[paper]' {IN_LIST}"),
        ([0.1, float("nan")], f"nan in alpha=[0.1, nan] {NOT_FINITE}"),
        ("[0.1,1e400]", f"inf in alpha='[0.1,1e400]' {NOT_FINITE}"),
        ("[0.01", f"alpha='[0.01' {CUT}"),
        ("[", f"alpha='[' {CUT}"),
        # Twice
        ([0.1, 0.2, 0.1], f"alpha=[0.1, 0.2, 0.1] holds 0.1 twice: {ONE_VOTE}"),
        ([1, 1.0], f"alpha=[1, 1.0] holds 1 twice: {ONE_VOTE}"),
        ([0.0, -0.0], f"alpha=[0.0, -0.0] holds 0 twice: {ONE_VOTE}"),
        ("[0.1,.1]", f"alpha='[0.1,.1]' holds 0.1 twice: {ONE_VOTE}"),
        (
            "9007199254740992:9007199254740994:1",  # 2^53 + 1 is no float
            f"alpha='9007199254740992:9007199254740994:1' holds 9007199254740992 twice: {ONE_VOTE}",
        ),
        # Ranges
        ("0.01:0.09", f"alpha='0.01:0.09' {RANGE}"),
        ("0.01:0.09:0.01:1", f"alpha='0.01:0.09:0.01:1' {RANGE}"),
        ("0.01::0.01", f"alpha='0.01::0.01' {RANGE}"),
        (":", f"alpha=':' {RANGE}"),
        ("0.01:x:0.01", f"alpha='0.01:x:0.01' {RANGE}"),
        ("0:1e400:1", f"alpha='0:1e400:1' {RANGE}"),
        ("0:inf:1", f"alpha='0:inf:1' {RANGE}"),
        ("1:2:0", "alpha='1:2:0' has the step 0: use a step above 0, as in 0.01:0.09:0.01"),
        ("0.3:0.1:-0.1", "alpha='0.3:0.1:-0.1' has the step -0.1: use a step above 0, as in 0.01:0.09:0.01"),
        ("0.3:0.1:0.1", "alpha='0.3:0.1:0.1' goes down from 0.3 to 0.1: write 0.1:0.3:0.1"),
        ("-1:-2:1", "alpha='-1:-2:1' goes down from -1 to -2: write -2:-1:1"),
        (
            "0.01:0.1:0.02",
            "alpha='0.01:0.1:0.02' takes no step to its end 0.1: write 0.01:0.09:0.02 for the values before it",
        ),
        ("1:2:3", "alpha='1:2:3' takes no step to its end 2: write 1:1:3 for the values before it"),
        ("0:1:0.001", "alpha='0:1:0.001' has more than 1000 values: use a larger step than 0.001"),
        ("0:1e308:1e-323", "alpha='0:1e308:1e-323' has more than 1000 values: use a larger step than 1e-323"),
    ],
)
def test_refused(value: Any, words: str) -> None:
    assert refusal(value) == words


def test_sentences_name_the_argument() -> None:
    assert refusal(None, argument="dose") == (
        "dose is missing: say how long the shift is, as in dose=0.04, or dose=0 for none"
    )
    assert refusal("x", argument="dose").startswith("dose='x' ")
    assert refusal(float("nan"), argument="dose").endswith("such as dose=0.04")
    assert refusal([None], argument="dose").endswith("as in dose=[0.04,0.5]")


def test_the_longest_range() -> None:
    assert len(read_alphas(f"1:{MOST}:1")) == MOST
    assert "more than" in refusal(f"0:{MOST}:1")


def test_a_list_is_left_as_it_was() -> None:
    given = [3, 1]
    read_alphas(given)
    assert given == [3, 1]


FINITE = st.floats(allow_nan=False, allow_infinity=False)


@given(st.integers(-500, 500), st.integers(1, 40), st.integers(0, 60), st.integers(0, 6))
def test_range_values_are_what_their_decimals_say(first: int, step: int, steps: int, places: int) -> None:
    def text(number: int) -> str:
        return str(Decimal(number).scaleb(-places))

    last = first + steps * step
    found = read_alphas(f"{text(first)}:{text(last)}:{text(step)}")
    assert set(found) == {float(text(number)) for number in range(first, last + 1, step)}
    assert len(found) == steps + 1


@given(st.lists(FINITE, min_size=1, max_size=8, unique=True))
def test_order_and_forms_agree(values: list[float]) -> None:
    found = read_alphas(values)
    assert sorted(found) == sorted(values)
    assert sorted(values, key=alpha_order) == list(found)
    for one, other in pairwise(found):
        assert abs(one) < abs(other) or (one == -other and one > 0)
    assert read_alphas("[" + ",".join(map(alpha_name, values)) + "]") == found


@given(FINITE)
def test_a_name_reads_back(alpha: float) -> None:
    assert read_alphas(alpha_name(alpha)) == (alpha,)
    assert alpha_name(alpha) == alpha_name(float(alpha_name(alpha)))


@pytest.mark.parametrize(
    ("alpha", "name"),
    [
        (0.04, "0.04"),
        (-1.0, "-1"),
        (3, "3"),
        (0.0, "0"),
        (-0.0, "0"),
        (10.0, "10"),
        (0.5, "0.5"),
        (1e-5, "1e-05"),
        (1.23456789, "1.23456789"),
        (np.float64(0.07), "0.07"),
    ],
)
def test_name(alpha: float, name: str) -> None:
    assert alpha_name(alpha) == name
