"""Interventions: those that do the same are the same, and those that differ in anything are not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lm_eval_steer.engines.measured import Measured, add_up
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.interventions.intervention import NOTHING, Edit, Intervention, intervene

V = np.array([0.6, 0.8, 0.0], dtype=np.float32)
W = np.array([0.0, 0.6, 0.8], dtype=np.float32)


def one(
    strength: float = 0.5, *, block: int = 0, operator: str = "add", v: np.ndarray = V, **more: Any
) -> Intervention:
    return intervene([Edit(block, operator, v, strength)], **more)


def test_what_does_nothing_is_nothing() -> None:
    for unit in ("length", "dose"):
        for tokens in ("all", "last"):
            same = one(0.0, unit=unit, tokens=tokens)
            assert same == NOTHING
            assert hash(same) == hash(NOTHING)
            assert same.is_plain
    assert intervene([Edit(0, "add", V, 0.5), Edit(1, "add", W, 0.0)]) == one()


def test_order_and_layout_of_arrays_do_not_matter() -> None:
    edits = [Edit(0, "add", V, 0.5), Edit(1, "add", W, 0.25)]
    assert intervene(edits) == intervene(reversed(edits))
    strided = np.zeros(6, dtype=np.float32)
    strided[::2] = V
    assert one(v=strided[::2]) == one()
    assert intervene(edits).places == (0, 1)


def test_whatever_changes_a_response_changes_the_fingerprint() -> None:
    different = [
        NOTHING,
        one(),
        one(-0.5),
        one(0.25),
        one(block=1),
        one(v=W),
        one(v=-V),
        one(operator="add_keep_norm"),
        one(unit="dose"),
        one(tokens="prompt"),
        intervene([Edit(0, "add", V, 0.5), Edit(1, "add", V, 0.5)]),
        intervene(regrouped=True),
        intervene(sample=0, temperature=0.7),
        intervene(sample=1, temperature=0.7),
        intervene(sample=0, temperature=1.0),
    ]
    assert len({each.fingerprint for each in different}) == len(different)


def test_a_temperature_belongs_to_drawn_text() -> None:
    assert intervene(temperature=0.7) == NOTHING


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(SteeringError, match="there is no operator 'subtract': use one of add, add_keep_norm, icv"):
        one(operator="subtract")
    with pytest.raises(SteeringError, match="there is no token rule 'first': use one of all, prompt"):
        one(tokens="first")
    with pytest.raises(ValueError, match="there is no unit 'metre'"):
        one(unit="metre")
    with pytest.raises(ValueError, match="two edits of one place"):
        intervene([Edit(0, "add", V, 0.5), Edit(0, "add", W, 0.5)])


def test_measured_adds_up() -> None:
    first = Measured({"a": {0: [1, 2, 3, 4]}}, {0: 5}, {0: 5})
    second = Measured(
        {"a": {0: [10, 20, 30, 40], 1: [1, 1, 1, 1]}, "b": {0: [7, 7, 7, 7]}}, {0: 1, 1: 2}, {0: 1}, "why"
    )
    both = first + second
    assert both.doses == {"a": {0: [11, 22, 33, 44], 1: [1, 1, 1, 1]}, "b": {0: [7, 7, 7, 7]}}
    assert (both.steered, both.implied, both.not_compared) == ({0: 6, 1: 2}, {0: 6}, "why")
    assert add_up([]) == Measured()
