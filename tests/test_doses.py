"""What was measured of a steering: sums over positions, added over engines, reported as means."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from lm_eval_steer.engines.doses import Doses, by_fingerprint, report_one
from lm_eval_steer.engines.measured import Measured, add_up
from steerings import steering

BEFORE = torch.tensor([[[3.0, 4.0], [0.0, 10.0]], [[5.0, 0.0], [6.0, 8.0]]])  # lengths 5, 10; 5, 10
DIRECTION = torch.tensor([2.0, 0.0])
LENGTHS = torch.tensor([[[0.5], [0.5]], [[1.0], [0.0]]])  # of the shift, in lengths of v; the last position has none


ONES = [steering({4: DIRECTION.numpy()}, strength) for strength in (0.5, 3.0, 1.0)]


def measured(rows: list[int]) -> Measured:
    """Of some of two rows, under interventions 0 and 2; half of the second's shift is rounded away."""
    doses = Doses(3, [4])
    kept = torch.tensor([1.0, 0.5])[:, None, None]
    after = BEFORE + kept * LENGTHS * DIRECTION
    steered = LENGTHS[rows] != 0
    doses.add(4, torch.tensor([0, 2])[rows], LENGTHS[rows], BEFORE[rows], after[rows], DIRECTION, steered)
    return Measured(by_fingerprint(doses.sums(), ONES))


def reports(found: Measured) -> list[dict[str, dict[str, Any]]]:
    return [report_one(found.doses.get(one.fingerprint, {}), one) for one in ONES]


def test_means_over_the_steered_positions() -> None:
    first, none, last = reports(measured([0, 1]))
    assert first == {"4": {"positions": 2, "dose": pytest.approx((1 / 5 + 1 / 10) / 2), "survival": pytest.approx(1)}}
    assert none == {}
    assert last == {"4": {"positions": 1, "dose": pytest.approx(2 / 5), "survival": pytest.approx(0.5)}}
    more = steering({4: DIRECTION.numpy()}, 0.5, "add_keep_norm")
    assert report_one(measured([0]).doses[ONES[0].fingerprint], more)["4"]["survival"] is None


def test_directions_of_rows_are_their_own() -> None:
    """As one direction for all, where they are equal; the mask says what is counted, also at strength 0."""
    doses, same = Doses(1, [4]), Doses(1, [4])
    for one, direction in ((doses, DIRECTION.expand(2, 1, 2)), (same, DIRECTION)):
        after = BEFORE + LENGTHS * DIRECTION
        steered = torch.ones(2, 2, 1, dtype=torch.bool)
        one.add(4, torch.zeros(2, dtype=torch.int64), LENGTHS, BEFORE, after, direction, steered)
    assert doses.sums() == same.sums()
    assert doses.sums()[4][0] == [4.0]


def test_parts_add_up_to_the_whole() -> None:
    """Also where the positions of one strength weigh differently, as under `dose`."""
    whole, parts = measured([0, 1, 1]), [measured(rows) for rows in ([1], [0], [1], [])]
    assert add_up(parts).doses == whole.doses
    assert reports(add_up(parts)) == reports(whole)


def test_what_a_huge_strength_made_infinite_is_no_dose() -> None:
    """Sums of positions, shares of ‖h‖, what was kept and what was wanted; JSON has no infinity."""
    one = steering({0: DIRECTION.numpy(), 1: DIRECTION.numpy()}, 1.0)
    sums = {0: [2.0, math.inf, math.nan, 1.0], 1: [2.0, math.nan, 0.0, 0.0]}
    assert report_one(sums, one) == {}
    assert report_one({0: [2.0, 0.5, math.inf, 4.0], 1: [0.0] * 4}, one) == {
        "0": {"positions": 2, "dose": 0.25, "survival": None}
    }
