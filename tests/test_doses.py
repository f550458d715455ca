"""What was measured of a steering: sums over positions, added over engines, reported as means."""

from __future__ import annotations

import math

import pytest
import torch

from lm_eval_steer.engines.doses import Doses, add, report

BEFORE = torch.tensor([[[3.0, 4.0], [0.0, 10.0]], [[5.0, 0.0], [6.0, 8.0]]])  # lengths 5, 10; 5, 10
DIRECTION = torch.tensor([2.0, 0.0])
LENGTHS = torch.tensor([[[0.5], [0.5]], [[1.0], [0.0]]])  # of the shift, in lengths of v; the last position has none


def measured(rows: list[int], pure: bool = True) -> Doses:
    """Of some of two rows, whose strengths are numbers 0 and 2 of three; half of the second's shift is rounded away."""
    doses = Doses(3, [4], pure)
    kept = torch.tensor([1.0, 0.5])[:, None, None]
    after = BEFORE + kept * LENGTHS * DIRECTION
    doses.add(4, torch.tensor([0, 2])[rows], LENGTHS[rows], BEFORE[rows], after[rows], DIRECTION)
    return doses


def test_means_over_the_steered_positions() -> None:
    first, none, last = measured([0, 1]).report()
    assert first == {"4": {"positions": 2, "dose": pytest.approx((1 / 5 + 1 / 10) / 2), "survival": pytest.approx(1)}}
    assert none == {}
    assert last == {"4": {"positions": 1, "dose": pytest.approx(2 / 5), "survival": pytest.approx(0.5)}}
    assert measured([0], pure=False).report()[0]["4"]["survival"] is None


def test_what_is_no_shift_is_measured_on_what_it_did() -> None:
    """The first row's operator is a shift; the second moved both of its positions by 3 and 4 across v."""
    doses = Doses(2, [4])
    after = BEFORE + torch.tensor([[[9.0, 9.0], [9.0, 9.0]], [[0.0, 3.0], [0.0, 4.0]]])
    shifts = torch.tensor([True, False])[:, None, None]
    steered = torch.ones(2, 2, 1, dtype=torch.bool)
    doses.add(4, torch.tensor([0, 1]), LENGTHS, BEFORE, after, DIRECTION, steered, shifts)
    first, second = doses.report()
    assert first["4"]["dose"] == pytest.approx((1 / 5 + 1 / 10) / 2)
    assert second["4"]["dose"] == pytest.approx((3 / 5 + 4 / 10) / 2)


def test_parts_add_up_to_the_whole() -> None:
    """Also where the positions of one strength weigh differently, as under `dose`."""
    whole = measured([0, 1, 1])
    parts = [measured(rows).sums() for rows in ([1], [0], [1], [])]
    assert add(parts) == whole.sums()
    assert report(add(parts), 3, pure=True) == whole.report()
    assert add([{1: [[1.0]]}, {2: [[2.0]]}, {1: [[3.0]]}]) == {1: [[4.0]], 2: [[2.0]]}


def test_what_a_huge_strength_made_infinite_is_no_dose() -> None:
    """Sums of positions, shares of ‖h‖, what was kept and what was wanted; JSON has no infinity."""
    sums = {
        0: [[2.0, 2.0], [math.inf, 0.5], [math.nan, math.inf], [1.0, 4.0]],
        1: [[2.0, 0.0], [math.nan, 0.0], [0.0] * 2, [0.0] * 2],
    }
    assert report(sums, 2, True) == [{}, {"0": {"positions": 2, "dose": 0.25, "survival": None}}]
