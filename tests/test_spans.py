"""The book-keeping of positions: what was run again, and what was run without need."""

from __future__ import annotations

import numpy as np

from lm_eval_steer.engines.vllm.spans import FOREVER, NOTHING, Spans


def add(spans: Spans, *passes: tuple[tuple[int, int, int, int], int, int]) -> None:
    asked, start, width = (np.array(column) for column in zip(*passes, strict=True))
    spans.add(asked, start, width)


def test_positions_that_are_run_once_are_neither() -> None:
    spans = Spans(2, 2)
    add(spans, ((0, 0, 0, FOREVER), 0, 5), ((1, 1, 2, 3), 0, 3))
    add(spans, ((0, 0, 0, FOREVER), 5, 1), ((1, 1, 2, 3), 3, 1))
    assert spans.again.tolist() == [0, 0]
    assert spans.beyond([6, 4]).tolist() == [0, 0]


def test_what_is_run_again_is_counted_where_it_is_steered() -> None:
    spans = Spans(2, 3)
    add(spans, ((0, 2, 0, FOREVER), 0, 5), ((1, 1, 2, 4), 0, 5))
    add(spans, ((0, 2, 0, FOREVER), 0, 7), ((1, 1, 2, 4), 0, 7))  # thrown out, and run again with two tokens more
    assert spans.again.tolist() == [0, 2, 5]


def test_what_runs_behind_the_end_is_counted_where_it_is_steered() -> None:
    spans = Spans(3, 1)
    add(spans, ((0, 0, 0, FOREVER), 0, 9), ((1, 0, 3, 4), 0, 9))
    assert spans.beyond([7, 7, 0]).tolist() == [2]
    assert spans.beyond([0, 0, 0]).tolist() == [10]  # a row that is asked for again, as if it had not been run


def test_a_request_that_was_never_run_counts_nothing() -> None:
    assert Spans(4, 2).beyond([0, 0, 0, 0]).tolist() == [0, 0]
    assert NOTHING[0] < 0
